package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// What a reload depends on is watched, however it is written: the configuration
// relative to where shunt was started, what it names by absolute paths, and all of it
// by links. What lies beside it is not.
func TestWatched(t *testing.T) {
	dir := filepath.Dir(configured(t, goodConfig+"identity: {jwt: {issuer: a, jwks: {file: keys.json}}}\n"))
	t.Chdir(dir)
	if err := os.Mkdir("elsewhere", 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join("elsewhere", "set.json"), "")
	if err := os.Symlink(filepath.Join("elsewhere", "set.json"), "keys.json"); err != nil {
		t.Fatal(err)
	}
	a := &app{flags: &configFlags{path: "shunt.yaml"}, log: slog.Default()}
	c, err := a.flags.load()
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watcher.Close() })
	w := watchlist{watcher, map[string]bool{}}
	a.watchFiles(w, c)
	for file, ours := range map[string]bool{
		"shunt.yaml": true, "cheap.key": true, "elsewhere/set.json": true, "events.jsonl": false,
	} {
		writeFile(t, filepath.FromSlash(file), "new")
		if got := w.concerns(changed(t, w, filepath.Base(file))); got != ours {
			t.Errorf("a change of %s is ours: %v, want %v", file, got, ours)
		}
	}
}

// changed waits for a change of a file of this last name, and returns the name that
// it is reported under.
func changed(t *testing.T, w watchlist, base string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		select {
		case e := <-w.Events:
			if filepath.Base(e.Name) == base {
				return e.Name
			}
		case <-ctx.Done():
			t.Fatalf("nothing was heard of a change of %s", base)
		}
	}
}
