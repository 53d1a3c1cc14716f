package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports that are looked for lie below those that systems give to outgoing
// connections, one of which could otherwise take a port between its being found free
// and its being used.
const (
	firstPort = 12000
	lastPort  = 30000
	portTries = 100
)

// Listen listens on a free loopback port.
func Listen() (l net.Listener, err error) {
	for range portTries {
		l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort)))
		if err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("find a free port: %w", err)
}
