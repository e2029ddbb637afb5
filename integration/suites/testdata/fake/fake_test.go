// Package fake has tests that pass, fail, hang and leave processes behind, for
// the tests of the tool that runs tests.
package fake

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// withDV: settings of the transport reach dv alone.
var withDV = os.Getenv("ETCD_DV_FAKE") != ""

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv("FAKE_LEAK") != "" {
		fmt.Println("leaked")
		code = 1
	}
	os.Exit(code)
}

func TestPass(t *testing.T) {
	// A server's log may end without a newline.
	fmt.Print("a line that does not end")
}

func TestSub(t *testing.T) {
	t.Run("always", func(t *testing.T) {})
	t.Run("some", func(t *testing.T) {
		if withDV && os.Getenv("FAKE_SKIP") != "" {
			t.Skip("dv cannot")
		}
	})
	t.Run("never", func(t *testing.T) { t.Skip("nobody can") })
}

func TestSkip(t *testing.T) { t.Skip("not here") }

func TestDVFails(t *testing.T) {
	if withDV {
		t.Fatal("dv lost a message")
	}
}

func TestStockFails(t *testing.T) {
	if !withDV {
		t.Fatal("stock lost a message")
	}
}

func TestBothFail(t *testing.T) { t.Error("nobody can") }

// TestFlaky fails the first time that it runs with FAKE_DIR.
func TestFlaky(t *testing.T) {
	mark := filepath.Join(os.Getenv("FAKE_DIR"), fmt.Sprint("ran-", withDV))
	if _, err := os.Stat(mark); err == nil {
		return
	}
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Fatal("the first time")
}

func TestPanic(t *testing.T) {
	if withDV {
		panic("at the disco")
	}
}

func TestHang(t *testing.T) {
	started(t, "hang")
	time.Sleep(time.Hour)
}

// TestOrphan leaves a process in a session of its own, and its child.
func TestOrphan(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "sleep 3600 & echo $! > $FAKE_DIR/child; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if text, _ := os.ReadFile(filepath.Join(os.Getenv("FAKE_DIR"), "child")); len(text) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	started(t, "orphan")
	if os.Getenv("FAKE_HANG") != "" {
		time.Sleep(time.Hour)
	}
}

func started(t *testing.T, name string) {
	path := filepath.Join(os.Getenv("FAKE_DIR"), name)
	if err := os.WriteFile(path+".new", fmt.Append(nil, os.Getpid()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestNameserver needs the name servers of the machine to be refused at once.
func TestNameserver(t *testing.T) {
	conn, err := net.Dial("udp", net.JoinHostPort(os.Getenv("FAKE_ADDRESS"), "53"))
	if !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Fatalf("name server: %v, %v", conn, err)
	}
}

// TestNetwork needs an address that is not loopback, and a way out.
func TestNetwork(t *testing.T) {
	conn, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	own := conn.LocalAddr().(*net.UDPAddr).IP
	if own.String() != os.Getenv("FAKE_ADDRESS") {
		t.Fatalf("own address is %v", own)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(own.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// TestLeaves leaves a file where it runs, and fails if there is one.
func TestLeaves(t *testing.T) {
	const name = "default.etcd"
	if _, err := os.Stat(name); err == nil {
		t.Fatal("another test's data is here")
	}
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}
