package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	"github.com/shunt-gateway/shunt/test/harness"
)

// smallDisk mounts one, or reports that this machine does not let us.
func smallDisk(t *testing.T, bytes int) (dir string, err error) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		return "", err
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, nil
}

// ballast fills a disk to the last byte; the file's removal frees it.
func ballast(t *testing.T, dir string) (remove func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// noRoom fills the disk under a running shunt: each of its writes to a file fails,
// with EFBIG where a full disk says ENOSPC. It needs no privilege.
func noRoom(t *testing.T, s *harness.Shunt) (free func()) {
	t.Helper()
	var was unix.Rlimit
	limit := func(to unix.Rlimit) {
		t.Helper()
		if err := unix.Prlimit(s.Cmd.Process.Pid, unix.RLIMIT_FSIZE, &to, &was); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Prlimit(s.Cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &was); err != nil {
		t.Fatal(err)
	}
	before := was
	limit(unix.Rlimit{Cur: 0, Max: was.Max})
	return func() { limit(before) }
}

// The disk fills up under requests: new ones are refused, those that were admitted
// are billed when there is room again, or after a crash by the next shunt.
func TestDiskFull(t *testing.T) {
	t.Run("room again", func(t *testing.T) { diskFull(t, t.TempDir(), noRoom, false) })
	t.Run("killed while full", func(t *testing.T) { diskFull(t, t.TempDir(), noRoom, true) })
	t.Run("room again, a disk of its own", func(t *testing.T) {
		disk, err := smallDisk(t, 64<<20)
		if err != nil {
			t.Logf("no disk of our own: %v", err)
			return
		}
		diskFull(t, disk, func(t *testing.T, _ *harness.Shunt) func() { return ballast(t, disk) }, false)
	})
}

// diskFull fills the disk with data_dir on it.
func diskFull(t *testing.T, disk string, fill func(*testing.T, *harness.Shunt) (free func()), crash bool) {
	p, dir := newProvider(t), t.TempDir()
	config := p.config(quick, "data_dir: "+filepath.Join(disk, "data"))
	s := start(t, dir, config)
	st := begin(t, s)
	first, _ := chat(s, body)
	s.Event(t, first)
	free := fill(t, s)
	want := map[string]bool{first: true, st.id: true}
	harness.Eventually(t, "requests are refused", func() error {
		id, status := chat(s, body)
		switch status {
		case 503:
			return nil
		case 200:
			want[id] = true
		}
		return fmt.Errorf("status %d", status)
	})
	wantMetric(t, s, "shunt_billing_disk_errors_total", func(v float64) bool { return v >= 1 })
	close(p.gate) // the stream ends while nothing can be written
	if text, err := st.rest(); err != nil || !strings.Contains(text, "[DONE]") {
		t.Errorf("the client's stream: %q, %v", text, err)
	}
	if crash {
		s.Kill()
		s = start(t, dir, config)
	} else {
		free()
	}
	harness.Eventually(t, "requests are admitted", func() error {
		id, status := chat(s, body)
		if status != 200 {
			return fmt.Errorf("status %d", status)
		}
		want[id] = true
		return nil
	})
	all := settled(t, filepath.Join(dir, "events.jsonl"), want)
	if crash {
		check(t, all, "completed", "unsettled")
	} else {
		check(t, all, "completed")
	}
	if len(all) != len(want) {
		t.Errorf("%d events for %d admitted requests", len(all), len(want))
	}
}

// A sink that is gone for a while, and shunt killed meanwhile.
func TestSinkDownAndBack(t *testing.T) {
	p, dir := newProvider(t), t.TempDir()
	sinkDir := filepath.Join(dir, "sink")
	config := p.config("sinks: [{file: sink/events.jsonl}, {file: events.jsonl}], settle_timeout: 4s")
	s := start(t, dir, config)
	first, _ := chat(s, body)
	harness.Eventually(t, "the first event", func() error {
		return atLeast(len(events(t, filepath.Join(sinkDir, "events.jsonl"))), 1)
	})
	gone := sinkDir + ".gone"
	if err := os.Rename(sinkDir, gone); err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, sinkDir, "in the way")
	want := map[string]bool{first: true}
	for range 50 {
		id, status := chat(s, body)
		if status != 200 {
			t.Fatalf("status %d while a sink is down", status)
		}
		want[id] = true
	}
	settled(t, filepath.Join(dir, "events.jsonl"), want) // the other sink has them
	s.Kill()
	if err := errors.Join(os.Remove(sinkDir), os.Rename(gone, sinkDir)); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir, config)
	check(t, settled(t, filepath.Join(sinkDir, "events.jsonl"), want), "completed")
	again.Stop(t)
	for _, path := range []string{filepath.Join(sinkDir, "events.jsonl"), filepath.Join(dir, "events.jsonl")} {
		if n := len(events(t, path)); n != len(want) {
			t.Errorf("%s has %d events for %d requests", path, n, len(want))
		}
	}
}

// NATS is away between settlement and outbox, and shunt is killed there.
func TestNATSAwayAndKilled(t *testing.T) {
	p, dir := newProvider(t), t.TempDir()
	addr := harness.FreeAddr(t)
	config := p.config(quick, "state: {nats: nats://"+addr+"}")
	s := start(t, dir, config)
	want := map[string]bool{}
	for range 50 {
		id, status := chat(s, body)
		if status != 200 {
			t.Fatalf("status %d while NATS is away", status)
		}
		want[id] = true
	}
	harness.Eventually(t, "they are settled", func() error { // Envoy reports every 50 ms
		return atLeast(strings.Count(string(read(t, dir)), "shunt.usage.v1"), len(want))
	})
	s.Kill()
	if held := owed(t, dir); len(held) != len(want) {
		t.Errorf("the log holds %d of %d", len(held), len(want))
	}
	startNATS(t, addr)
	start(t, dir, config)
	check(t, settled(t, filepath.Join(dir, "events.jsonl"), want), "completed")
}

// read is the admission log's bytes.
func read(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	files, err := filepath.Glob(filepath.Join(dir, ".shunt", "billing", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

func startNATS(t *testing.T, addr string) {
	t.Helper()
	var port int
	if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
}
