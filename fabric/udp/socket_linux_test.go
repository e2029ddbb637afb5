package udp

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// watchedEvents returns, for each epoll instance of this process that watches
// the socket, the events that it waits for.
func watchedEvents(t *testing.T, socket uint64) (events []uint32) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err != nil || to != "anon_inode:[eventpoll]" {
			continue
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + filepath.Base(fd))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(info)) {
			var tfd int
			var mask uint32
			var data, pos, ino uint64
			if n, _ := fmt.Sscanf(line, "tfd: %d events: %x data: %x pos:%d ino:%x", &tfd, &mask, &data, &pos, &ino); n == 5 && ino == socket {
				events = append(events, mask)
			}
		}
	}
	return events
}

func inode(t *testing.T, fd uintptr) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(fd), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// Linux announces room to write for each datagram that has left: who waits for
// that is woken by every send of his own.
func TestNobodyWaitsForRoomToWrite(t *testing.T) {
	cfg := Config{Self: 1, Listen: "127.0.0.1:0"}
	c, err := openSocket(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	var socket uint64
	if err := c.(*linuxSocket).raw.Control(func(fd uintptr) { socket = inode(t, fd) }); err != nil {
		t.Fatal(err)
	}
	got := watchedEvents(t, socket)
	if len(got) != 1 || got[0]&unix.EPOLLIN == 0 || got[0]&unix.EPOLLOUT != 0 {
		t.Errorf("events waited for: %#x, want arrivals alone, once", got)
	}
}

// The test above must see what the Go runtime does with a socket of its own.
func TestNobodyWaitsForRoomToWriteControl(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var socket uint64
	if err := raw.Control(func(fd uintptr) { socket = inode(t, fd) }); err != nil {
		t.Fatal(err)
	}
	if got := watchedEvents(t, socket); len(got) != 1 || got[0]&unix.EPOLLOUT == 0 {
		t.Errorf("events waited for: %#x, want room to write among them", got)
	}
}
