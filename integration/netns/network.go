package netns

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/guard"
)

const (
	// memberNet is a network that exists inside of the hub alone.
	memberNet = "10.99.0."
	// firstHost is the address of the first member in it.
	firstHost = 11
	// socketName is where clients reach a member, which no cut concerns.
	socketName = "c.sock"
	// device is a member's end of its cable.
	device = "eth0"
)

// namespace holds a network namespace until its input ends.
const namespace = `ip link set lo up && echo ready && exec cat`

// commands is an ip that waits for commands, so that a cut does not wait for a
// process to start.
const commands = "echo ready && exec ip -force -batch -"

// Network is a network whose members have a namespace each, joined by a bridge in
// one more.
type Network struct {
	hub     *guard.Guard
	members []*guard.Guard
	batch   *guard.Guard // of the hub's commands
}

// New makes a network; guard.ErrNotHere if it cannot be had.
func New(ctx context.Context, members int) (*Network, error) {
	if err := guard.Need("a network namespace for each member", "unshare", "nsenter", "ip"); err != nil {
		return nil, err
	}
	n := &Network{}
	if err := n.open(ctx, members); err != nil {
		return nil, fmt.Errorf("network namespaces: %w", errors.Join(err, n.Close()))
	}
	return n, nil
}

func (n *Network) open(ctx context.Context, members int) (err error) {
	if n.hub, err = guard.New("unshare", "--net", "sh", "-c", namespace); err != nil {
		// The programs are there: what is missing is a privilege or the kernel's part.
		return fmt.Errorf("%w: %w", guard.ErrNotHere, err)
	}
	if err := run(ctx, n.hub, "ip link add hub type bridge && ip link set hub up"); err != nil {
		return fmt.Errorf("%w: %w", guard.ErrNotHere, err)
	}
	for i := range members {
		m, err := guard.New("unshare", "--net", "sh", "-c", namespace)
		if err != nil {
			return err
		}
		n.members = append(n.members, m)
		if err := run(ctx, n.hub, fmt.Sprintf("ip link add port%[1]d type veth peer name %[2]s netns %[3]d && ip link set port%[1]d master hub up", i, device, m.Pid())); err != nil {
			return err
		}
		if err := n.Run(ctx, i, fmt.Sprintf("ip addr add %s/24 dev %[2]s && ip link set %[2]s up", Host(i), device)); err != nil {
			return err
		}
	}
	n.batch, err = guard.New("nsenter", "--net="+path(n.hub), "sh", "-c", commands)
	return err
}

// Size is the number of members.
func (n *Network) Size() int { return len(n.members) }

// Host is the address of a member.
func Host(i int) string { return memberNet + strconv.Itoa(firstHost+i) }

// Path is the file of a member's namespace.
func (n *Network) Path(i int) string { return path(n.members[i]) }

func path(g *guard.Guard) string { return fmt.Sprintf("/proc/%d/ns/net", g.Pid()) }

// Run runs a shell command in a member's namespace.
func (n *Network) Run(ctx context.Context, i int, command string) error {
	return run(ctx, n.members[i], command)
}

func run(ctx context.Context, ns *guard.Guard, command string) error {
	out, err := exec.CommandContext(ctx, "nsenter", "--net="+path(ns), "sh", "-c", command).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return nil
}

// Place is where a cluster's member runs, with a socket for clients in dir.
func (n *Network) Place(i int, dir string) (cluster.Place, error) {
	if i >= len(n.members) {
		return cluster.Place{}, fmt.Errorf("there are %d namespaces", len(n.members))
	}
	return cluster.Place{
		Host:    Host(i),
		Command: []string{"nsenter", "--net=" + n.Path(i), "--"},
		Socket:  filepath.Join(dir, socketName),
	}, nil
}

// Cut takes a member's port off the bridge. Its own end of the cable stays up, and
// nothing tells it.
func (n *Network) Cut(i int) error { return n.batch.Tellf("link set port%d nomaster", i) }

// Mend undoes Cut.
func (n *Network) Mend(i int) error { return n.batch.Tellf("link set port%d master hub", i) }

// Close ends what holds the namespaces; the kernel removes the rest.
func (n *Network) Close() (err error) {
	for _, g := range append(append([]*guard.Guard{n.batch}, n.members...), n.hub) {
		if g != nil {
			err = errors.Join(err, g.Close())
		}
	}
	return err
}
