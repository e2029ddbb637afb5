package failover

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/raftdv/dv/integration/cluster"
)

const (
	// memberNet is a network that exists inside of the hub alone.
	memberNet = "10.99.0."
	// firstHost is the address of the first member in it.
	firstHost = 11
	// socketName is where clients reach a member, which no cut concerns.
	socketName = "c.sock"
)

// namespace holds a network namespace until its input ends.
const namespace = `ip link set lo up && echo ready && exec cat`

// network is the lab whose members have a network namespace each, joined by a
// bridge in one more. Cutting a member takes its port off the bridge: its own
// end of the cable stays up, and nothing tells it.
type network struct {
	hub     *guard
	members []*guard
	// batch is an ip that waits for commands, so that a cut does not wait for a
	// process to start.
	batch *guard
}

func newNetwork(ctx context.Context, members int) (*network, error) {
	if err := need("cutting off a member", "unshare", "nsenter", "ip"); err != nil {
		return nil, err
	}
	n := &network{}
	if err := n.open(ctx, members); err != nil {
		return nil, fmt.Errorf("network namespaces: %w", errors.Join(err, n.close()))
	}
	return n, nil
}

func (n *network) open(ctx context.Context, members int) (err error) {
	if n.hub, err = newGuard("unshare", "--net", "sh", "-c", namespace); err != nil {
		// The programs are there: what is missing is a privilege or the kernel's part.
		return fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	if err := run(ctx, n.hub, "ip link add hub type bridge && ip link set hub up"); err != nil {
		return fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	for i := range members {
		m, err := newGuard("unshare", "--net", "sh", "-c", namespace)
		if err != nil {
			return err
		}
		n.members = append(n.members, m)
		if err := run(ctx, n.hub, fmt.Sprintf("ip link add port%[1]d type veth peer name eth0 netns %[2]d && ip link set port%[1]d master hub up", i, m.pid())); err != nil {
			return err
		}
		if err := run(ctx, m, fmt.Sprintf("ip addr add %s/24 dev eth0 && ip link set eth0 up", host(i))); err != nil {
			return err
		}
	}
	n.batch, err = newGuard("nsenter", "--net="+netPath(n.hub), "sh", "-c", "echo ready && exec ip -force -batch -")
	return err
}

func host(i int) string { return memberNet + strconv.Itoa(firstHost+i) }

func netPath(g *guard) string { return fmt.Sprintf("/proc/%d/ns/net", g.pid()) }

// run runs a shell command in a namespace.
func run(ctx context.Context, ns *guard, command string) error {
	out, err := exec.CommandContext(ctx, "nsenter", "--net="+netPath(ns), "sh", "-c", command).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return nil
}

func (n *network) place(i int, dir string) (cluster.Place, error) {
	if i >= len(n.members) {
		return cluster.Place{}, fmt.Errorf("there are %d namespaces", len(n.members))
	}
	return cluster.Place{
		Host:    host(i),
		Command: []string{"nsenter", "--net=" + netPath(n.members[i]), "--"},
		Socket:  filepath.Join(dir, socketName),
	}, nil
}

func (n *network) strike(i int, _ *cluster.Member) error {
	return n.batchDo("link set port%d nomaster", i)
}

func (n *network) mend(_ context.Context, i int, _ *cluster.Member) error {
	return n.batchDo("link set port%d master hub", i)
}

func (n *network) batchDo(format string, i int) error {
	_, err := fmt.Fprintf(n.batch.stdin, format+"\n", i)
	return err
}

func (n *network) release() error { return nil }

// close ends what holds the namespaces; the kernel removes the rest.
func (n *network) close() (err error) {
	for _, g := range append(append([]*guard{n.batch}, n.members...), n.hub) {
		if g != nil {
			err = errors.Join(err, g.close())
		}
	}
	return err
}
