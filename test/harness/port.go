package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
)

// Ports that are looked for lie below those that systems give to outgoing
// connections, one of which could otherwise take a port between its being found free
// and its being used.
const (
	firstPort = 12000
	lastPort  = 30000
	portTries = 100
)

// Listen listens on a free loopback port. No other test, in this process or another,
// gets the same port from here while this process lives.
func Listen() (l net.Listener, err error) {
	for range portTries {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if !reserve(port) {
			err = errReserved
			continue
		}
		l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("find a free port: %w", err)
}

var errReserved = errors.New("taken by another test")

var reserved struct {
	mu    sync.Mutex
	ports map[int]net.Listener // nil where the system has no such names
}

// reserve takes a port for this process. What says so to others is a name that the
// system forgets when the process ends: a Unix socket without a file.
func reserve(port int) bool {
	reserved.mu.Lock()
	defer reserved.mu.Unlock()
	if _, taken := reserved.ports[port]; taken {
		return false
	}
	var mark net.Listener
	if runtime.GOOS == "linux" {
		var err error
		if mark, err = net.Listen("unix", fmt.Sprintf("@shunt-test-port-%d", port)); err != nil {
			return false
		}
	}
	if reserved.ports == nil {
		reserved.ports = map[int]net.Listener{}
	}
	reserved.ports[port] = mark
	return true
}
