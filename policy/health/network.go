package health

import "time"

// When most of those that we talk to cannot be reached at the same time, it is our
// own network, and leaving them alone would help nobody: whoever comes back last
// would be tried last. The same time is a part of ten seconds.
const sameTime = int64(10 * time.Second)

// doubt is how long most are not enough any more, if somebody answers all the while:
// a whole network rarely breaks that way.
const doubt = int64(30 * time.Second)

// own says whose fault it is that nothing came back.
type own uint8

const (
	cleared   own = iota
	suspected     // our own network's
)

// party is one of those that we talk to: how often it answered in this part of time.
type party struct {
	epoch     int64
	bad, good uint32
}

func (p *party) failing() bool { return p.bad > p.good }

// circle is all of the parties that matter to each other: the offers of a model, or
// the providers.
type circle struct {
	epoch           int64
	active, failing int32 // parties heard of in this part of time
	before          struct{ active, failing int32 }
	since, seen     int64 // when most were first and last found failing
}

// hear counts what an attempt's end says of a party: 1 or -1.
func (c *circle) hear(p *party, reach int, now int64) {
	epoch := now / sameTime
	c.roll(epoch)
	if p.epoch != epoch || p.bad+p.good == 0 {
		*p = party{epoch: epoch}
		c.active++
	} else if p.failing() {
		c.failing--
	}
	if reach < 0 {
		p.bad++
	} else {
		p.good++
	}
	if p.failing() {
		c.failing++
	}
}

func (c *circle) roll(epoch int64) {
	if epoch == c.epoch {
		return
	}
	c.before.active, c.before.failing = 0, 0
	if epoch == c.epoch+1 {
		c.before.active, c.before.failing = c.active, c.failing
	}
	c.epoch, c.active, c.failing = epoch, 0, 0
}

// suspect tells whether most parties are failing. One alone is no evidence.
func (c *circle) suspect(now int64) own {
	c.roll(now / sameTime)
	active, failing := c.active, c.failing
	if active < 2 {
		active, failing = c.before.active, c.before.failing
	}
	if active < 2 || 2*failing <= active {
		return cleared
	}
	if now-c.seen > 2*sameTime || now < c.seen {
		c.since = now
	}
	c.seen = now
	if failing < active && now-c.since > doubt {
		return cleared
	}
	return suspected
}
