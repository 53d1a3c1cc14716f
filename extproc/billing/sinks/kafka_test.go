package sinks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

func kafka(t *testing.T, opts ...kfake.Opt) (*kfake.Cluster, string) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(3, "usage")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, `brokers: ["` + strings.Join(c.ListenAddrs(), `", "`) + `"], topic: usage`
}

// consumed reads n records of the topic.
func consumed(t *testing.T, c *kfake.Cluster, n int, opts ...kgo.Opt) (list []*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("usage"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := bounded(t)
	for len(list) < n {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d records: %v", len(list), n, err)
		}
		list = append(list, fetches.Records()...)
	}
	return list
}

func TestKafka(t *testing.T) {
	c, text := kafka(t)
	s, _ := open(t, configured(t, "kafka: {"+text+"}"), nil)
	deliver(t, s, 0, 300)
	if err := s.Deliver(bounded(t), nobody(300)); err != nil {
		t.Fatal(err)
	}
	byKey := map[string][]int{}
	partitions := map[string]int32{}
	for _, r := range consumed(t, c, 301) {
		var id int
		headers := map[string]string{}
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		if _, err := fmt.Sscanf(headers["ce_id"], "id-%d", &id); err != nil {
			t.Fatal(err)
		}
		if id == 300 {
			if r.Key != nil || string(r.Value) != string(nobody(300).Body) {
				t.Errorf("without a subject: key %q, %s", r.Key, r.Value)
			}
			continue
		}
		if string(r.Value) != string(message(id).Body) || string(r.Key) != fmt.Sprintf("caller-%d", id%3) ||
			headers["content-type"] != typeOne || headers["ce_source"] != "shunt/a" || headers["ce_type"] != "shunt.usage.v1" {
			t.Errorf("record %q %v %s", r.Key, headers, r.Value)
		}
		if p, ok := partitions[string(r.Key)]; ok && p != r.Partition {
			t.Errorf("key %s is in partitions %d and %d", r.Key, p, r.Partition)
		}
		partitions[string(r.Key)] = r.Partition
		byKey[string(r.Key)] = append(byKey[string(r.Key)], id)
	}
	for key, ids := range byKey {
		if !slices.IsSorted(ids) || len(ids) != 100 {
			t.Errorf("%s: %v", key, ids)
		}
	}
}

// Brokers that answer errors and break off: every record is there, once, in order.
func TestKafkaTroubles(t *testing.T) {
	c, text := kafka(t)
	var n atomic.Int32
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		switch n.Add(1) {
		case 1, 3:
			return nil, errors.New("broken off"), true
		case 2, 4:
			return produceError(req.(*kmsg.ProduceRequest), kerr.NotEnoughReplicas), nil, true
		}
		return nil, nil, false
	})
	s, _ := open(t, configured(t, "kafka: {"+text+"}"), nil)
	deliver(t, s, 0, 30)
	last := map[string]int{}
	for _, r := range consumed(t, c, 30) {
		var id int
		if _, err := fmt.Sscanf(string(r.Headers[1].Value), "id-%d", &id); err != nil {
			t.Fatal(err)
		}
		if before, ok := last[string(r.Key)]; ok && id != before+3 {
			t.Errorf("%s: %d after %d", r.Key, id, before)
		}
		last[string(r.Key)] = id
	}
	if n.Load() < 5 {
		t.Errorf("%d produce requests: the troubles were not met", n.Load())
	}
}

func produceError(req *kmsg.ProduceRequest, with *kerr.Error) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, rt := range req.Topics {
		st := kmsg.NewProduceResponseTopic()
		st.Topic, st.TopicID = rt.Topic, rt.TopicID
		for _, rp := range rt.Partitions {
			sp := kmsg.NewProduceResponseTopicPartition()
			sp.Partition, sp.ErrorCode = rp.Partition, with.Code
			st.Partitions = append(st.Partitions, sp)
		}
		resp.Topics = append(resp.Topics, st)
	}
	return resp
}

// acks all, idempotent: as the brokers see it.
func TestKafkaProducesSafely(t *testing.T) {
	c, text := kafka(t)
	var acks, inits atomic.Int32
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		acks.Store(int32(req.(*kmsg.ProduceRequest).Acks))
		return nil, nil, false
	})
	c.ControlKey(int16(kmsg.InitProducerID), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		inits.Add(1)
		return nil, nil, false
	})
	s, _ := open(t, configured(t, "kafka: {"+text+"}"), nil)
	deliver(t, s, 0, 1)
	if acks.Load() != -1 || inits.Load() != 1 {
		t.Errorf("acks %d, %d producer ids", acks.Load(), inits.Load())
	}
}

// A record that no broker takes is refused; the others are taken.
func TestKafkaTooLarge(t *testing.T) {
	c, text := kafka(t)
	s, _ := open(t, configured(t, "kafka: {"+text+"}"), nil)
	big := message(1)
	big.Body = append(big.Body, strings.Repeat(" ", 2<<20)...)
	errs := s.DeliverAll(bounded(t), []billing.Message{message(0), big, message(2)})
	if len(errs) != 3 || errs[0] != nil || !errors.Is(errs[1], billing.ErrRefused) || errs[2] != nil {
		t.Fatalf("%v", errs)
	}
	consumed(t, c, 2)
}

func TestKafkaSASL(t *testing.T) {
	for mechanism, name := range map[string]string{"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			_, text := kafka(t, kfake.EnableSASL(), kfake.Superuser(name, "shunt", "sekret"))
			cfg := configured(t, "kafka: {"+text+", sasl: {mechanism: "+mechanism+", user: shunt, password: \"${P}\"}}")
			s, _ := open(t, cfg, map[string]string{"P": "sekret"})
			deliver(t, s, 0, 3)

			wrong, lines := openWithin(t, cfg, map[string]string{"P": "hunter2"}, time.Second)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- wrong.Deliver(ctx, message(0)) }()
			eventually(t, "an error in the log", func() bool { return strings.Contains(lines.String(), "cannot deliver") })
			cancel()
			if err := <-done; err == nil || errors.Is(err, billing.ErrRefused) || strings.Contains(err.Error()+lines.String(), "hunter2") {
				t.Errorf("%v; logged %s", err, lines)
			}
		})
	}
}

// A broker that has a record and says nothing: the outage shows, and the wait ends
// with the context, though the client goes on for as long as it has to.
func TestKafkaStalled(t *testing.T) {
	c, text := kafka(t)
	var stalled atomic.Bool
	stalled.Store(true)
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if stalled.Load() {
			c.SleepControl(func() { eventually(t, "the broker goes on", func() bool { return !stalled.Load() }) })
		}
		return nil, nil, false
	})
	s, lines := openWithin(t, configured(t, "kafka: {"+text+"}"), nil, time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Deliver(ctx, message(0)) }()
	eventually(t, "the outage shows", func() bool {
		since, _ := s.(billing.Patient).Outage()
		return !since.IsZero() && strings.Contains(lines.String(), "no acknowledgement within")
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	stalled.Store(false)
	deliver(t, s, 1, 4)
	if since, _ := s.(billing.Patient).Outage(); !since.IsZero() {
		t.Error("the outage still shows")
	}
}

// Brokers that are away: whoever delivers waits until the context or Close ends it.
func TestKafkaAway(t *testing.T) {
	c, text := kafka(t)
	c.Close()
	s, _ := open(t, configured(t, "kafka: {"+text+"}"), nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Deliver(ctx, message(0)) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	go func() { done <- s.Deliver(context.Background(), message(1)) }()
	closeSink(t, s)
	if err := <-done; !errors.Is(err, billing.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
