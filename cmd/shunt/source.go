package main

import (
	"os"
	"path/filepath"
)

// instance is this shunt's name in events: the host, and the directory that tells
// two shunts on one host apart. The host alone would not; a pid would change with
// every restart.
func instance(dataDir string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return "shunt://" + host + filepath.ToSlash(dataDir)
}
