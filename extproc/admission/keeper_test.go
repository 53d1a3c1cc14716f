package admission

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// keeper is one whose looks the test decides on.
func keeper(t *testing.T, b *Book, fail error) (k *Keeper, ended *[]string, log *logger) {
	t.Helper()
	ended, log = new([]string), new(logger)
	k = Keep(b, KeeperOptions{Timeout: time.Hour, Log: log.slog(), Unsettle: func(quote string, _ *billing.Record, _ time.Time) error {
		id := quote[len("quote of "):]
		*ended = append(*ended, id)
		if fail != nil {
			return fail
		}
		_, err := b.Finish(id, billing.Unsettled, []byte("event of "+id))
		return err
	}})
	t.Cleanup(k.Close)
	return k, ended, log
}

func TestKeeperEndsWhatIsSilent(t *testing.T) {
	c := &clock{}
	b := begin(t, Options{now: c.now})
	k, ended, _ := keeper(t, b, nil)
	admit(t, b, "a", "b")
	last := c.now()
	for range 8 {
		c.forward(8 * time.Minute)
		b.Heard("b", nil)
		last = k.look(last)
	}
	if !slices.Equal(*ended, []string{"a"}) || !b.Known("a") {
		t.Errorf("ended %v", *ended)
	}
	k.EndSilent(0)
	if !slices.Equal(*ended, []string{"a", "b"}) {
		t.Errorf("ended %v", *ended)
	}
}

// A process that was stopped has heard nothing, which is nobody's fault.
func TestKeeperWasStopped(t *testing.T) {
	c := &clock{}
	b := begin(t, Options{now: c.now})
	k, ended, _ := keeper(t, b, nil)
	admit(t, b, "a")
	last := c.now()
	c.forward(2 * time.Hour)
	last = k.look(last)
	c.forward(20 * time.Minute)
	if k.look(last); len(*ended) != 0 {
		t.Errorf("ended %v", *ended)
	}
}

// A quote that nobody can read is not tried again and again.
func TestKeeperAbandons(t *testing.T) {
	b := begin(t, Options{})
	k, ended, log := keeper(t, b, errors.New("unreadable"))
	admit(t, b, "a")
	k.EndSilent(0)
	k.EndSilent(0)
	if !slices.Equal(*ended, []string{"a"}) || len(openIDs(t, crashed(t, b))) != 0 || log.String() == "" {
		t.Errorf("tried %v, logged %q", *ended, log.String())
	}
}
