package packaging

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
)

// A Namespace is a mount and a network namespace that last as long as the
// process that holds them, which ends with this one.
type Namespace struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// hold makes what containers need: loopback, and a hierarchy of control groups
// that crun understands, which a machine with the old ones has not. Neither
// changes anything outside. Then it waits until its input ends.
const hold = `ip link set lo up && mount -t cgroup2 none /sys/fs/cgroup && echo ready && exec cat`

// NewNamespace needs root. The caller closes it.
func NewNamespace() (*Namespace, error) {
	cmd := exec.Command("unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", hold)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	n := &Namespace{cmd: cmd, stdin: stdin}
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		err := n.Close()
		return nil, fmt.Errorf("make a namespace: %w: %s", errors.Join(err, errors.New("its holder is not ready")), stderr.String())
	}
	return n, nil
}

// NetPath is the network namespace as a file.
func (n *Namespace) NetPath() string { return "/proc/" + n.pid() + "/ns/net" }

func (n *Namespace) pid() string { return strconv.Itoa(n.cmd.Process.Pid) }

// Command runs args inside.
func (n *Namespace) Command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", n.pid(), "--mount", "--net", "--"}
	return exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
}

// Run runs args inside and returns what they print.
func (n *Namespace) Run(ctx context.Context, args ...string) (string, error) {
	out, err := n.Command(ctx, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// Close ends the holder, and with it what only the namespaces held.
func (n *Namespace) Close() error {
	n.stdin.Close()
	return n.cmd.Wait()
}

// A Host is a network namespace with an address in the network of a hub.
type Host struct {
	*Namespace
	Addr string
}

// hubNet is a network that exists inside of a hub alone, with the addresses
// that docs/examples and docs/operations.md use.
const hubNet = "10.0.0."

// NewHub makes a network that connects n hosts, at 10.0.0.11 and so on. The caller closes them, hosts
// first.
func NewHub(ctx context.Context, n int) (hub *Namespace, hosts []*Host, err error) {
	if hub, err = NewNamespace(); err != nil {
		return nil, nil, err
	}
	_, err = hub.Run(ctx, "sh", "-c", "ip link add hub type bridge && ip link set hub up")
	for i := 11; i < 11+n && err == nil; i++ {
		var h *Host
		if h, err = join(ctx, hub, i); h != nil {
			hosts = append(hosts, h)
		}
	}
	if err != nil {
		for _, h := range hosts {
			h.Close()
		}
		hub.Close()
		return nil, nil, err
	}
	return hub, hosts, nil
}

func join(ctx context.Context, hub *Namespace, i int) (*Host, error) {
	ns, err := NewNamespace()
	if err != nil {
		return nil, err
	}
	h := &Host{Namespace: ns, Addr: hubNet + strconv.Itoa(i)}
	port := fmt.Sprintf("port%d", i)
	if _, err := hub.Run(ctx, "sh", "-c", fmt.Sprintf(
		"ip link add %[1]s type veth peer name eth0 netns %[2]s && ip link set %[1]s master hub up", port, ns.pid())); err != nil {
		return h, err
	}
	_, err = ns.Run(ctx, "sh", "-c", "ip addr add "+h.Addr+"/24 dev eth0 && ip link set eth0 up")
	return h, err
}

// innerNet is a network between a host and what runs behind it.
const innerNet = "172.20.0."

// mapping sends what arrives at the peer and client ports of a host to what
// runs behind it, and hides that behind the host's address.
const mapping = `table ip mapping {
  chain in { type nat hook prerouting priority dstnat; iif eth0 meta l4proto { tcp, udp } th dport { 2379, 2380 } dnat to ` + innerNet + `2; }
  chain out { type nat hook postrouting priority srcnat; oif eth0 masquerade; }
}`

// Behind makes a network namespace that reaches others through h, which
// publishes its ports under their own numbers, as a container's network with
// published ports is. The caller closes it before h.
func (h *Host) Behind(ctx context.Context) (*Host, error) {
	ns, err := NewNamespace()
	if err != nil {
		return nil, err
	}
	inner := &Host{Namespace: ns, Addr: h.Addr}
	_, err = h.Run(ctx, "sh", "-c", "ip link add inner type veth peer name eth0 netns "+ns.pid()+
		" && ip addr add "+innerNet+"1/24 dev inner && ip link set inner up && echo 1 >/proc/sys/net/ipv4/ip_forward")
	if err == nil {
		_, err = ns.Run(ctx, "sh", "-c", "ip addr add "+innerNet+"2/24 dev eth0 && ip link set eth0 up && ip route add default via "+innerNet+"1")
	}
	if err == nil {
		err = h.Firewall(ctx, mapping)
	}
	if err != nil {
		ns.Close()
		return nil, err
	}
	return inner, nil
}
