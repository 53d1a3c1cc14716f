package e2e

import (
	"fmt"
	"syscall"
)

// listening is a socket whose queue has room for one connection, and which nobody
// accepts from. Package net would make the queue as long as the system allows.
type listening struct {
	fd   int
	addr string
}

func socketListening() (*listening, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	l := &listening{fd: fd}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		l.close()
		return nil, err
	}
	if err := syscall.Listen(fd, 0); err != nil {
		l.close()
		return nil, err
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		l.close()
		return nil, err
	}
	l.addr = fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	return l, nil
}

func (l *listening) close() { _ = syscall.Close(l.fd) }
