package state

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
)

const writerVariable = "SHUNT_TEST_STATE_WRITER"

// embeddedAt are the options of an instance that keeps its state below dir.
func embeddedAt(dir string, log *slog.Logger) Options {
	return Options{
		State:   catalog.State{NATS: "embedded", Prefix: "shunt", Replicas: 1, Cache: catalog.StateCache{Preferences: 1 << 20, Sticky: 1 << 20}},
		DataDir: dir, StickyTTL: time.Hour, Log: log, limits: &unhurried,
	}
}

// runWriter saves preferences for ever, and says each that was acknowledged.
func runWriter(dir string) {
	s, err := Open(context.Background(), embeddedAt(dir, slog.New(slog.DiscardHandler)))
	if err != nil {
		panic(err)
	}
	for n := 0; ; n++ {
		user, name := fmt.Sprintf("u%d", n%20), fmt.Sprintf("v%d", n)
		if err := trySet(context.Background(), s, user, name); err != nil {
			panic(err)
		}
		fmt.Println(user, name)
	}
}

// An instance with an embedded NATS is killed with -9 while it writes. All that was
// acknowledged is there when it starts again.
func TestInstanceIsKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acknowledged := make(map[string]string)
	for range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerVariable+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 150 {
				_ = cmd.Process.Kill()
			}
			if user, name, whole := strings.Cut(lines.Text(), " "); whole {
				acknowledged[user] = name
			}
		}
		_ = cmd.Wait()
		s := open(t, embeddedAt(dir, quiet(t)))
		for user, name := range acknowledged {
			// One more may have been saved whose acknowledgement was not read any more.
			if g := answered(t, s, user); g != name && !newer(g, name) {
				t.Errorf("preferences of %s: got %q, %q was acknowledged", user, g, name)
			}
		}
		closeState(t, s)
	}
	if len(acknowledged) != 20 {
		t.Errorf("%d users were written, want 20", len(acknowledged))
	}
}

// newer compares the writer's numbers.
func newer(got, than string) bool {
	var g, n int
	_, err := fmt.Sscanf(got+" "+than, "v%d v%d", &g, &n)
	return err == nil && g > n
}

// go test ./extproc/state -run '^$' -bench .
func BenchmarkReads(b *testing.B) {
	s := open(b, embeddedAt(b.TempDir(), slog.New(slog.DiscardHandler)))
	current(b, s)
	c := parse(b, world)
	set(b, s, "u", "novita")
	s.Sticky().Record(testKey(1), "novita", time.Now())
	recorded(b, s, 1, "novita")
	k, now, ctx := testKey(1), time.Now(), b.Context()
	b.Run("Lookup", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				s.Sticky().Lookup(k, now)
			}
		})
	})
	b.Run("For", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, _ = s.Preferences().For(ctx, "u", c)
			}
		})
	})
	b.Run("Update", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			set(b, s, "w", fmt.Sprint(n))
		}
	})
}
