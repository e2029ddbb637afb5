package packaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/raftdv/dv/raftdv"
)

// lifetime bounds how long a container runs, in seconds, should nobody stop it.
const lifetime = "900"

// A Container is a running container on a host.
type Container struct {
	Start
	Host *Host
	// Status are the arguments that raftdv status needs to reach the member.
	Status []string
	engine *Engine
	id     string
}

// Run starts image on a host with what s says. args go to podman.
func (e *Engine) Run(ctx context.Context, image string, h *Host, s Start, args ...string) (*Container, error) {
	all := []string{"run", "--detach", "--pull", "never", "--timeout", lifetime, "--network", "ns:" + h.NetPath()}
	for _, v := range s.Env {
		all = append(all, "--env", v.Name+"="+v.Value)
	}
	all = append(append(append(all, args...), image), s.Command...)
	id, err := e.podman(ctx, all...)
	if err != nil {
		return nil, err
	}
	return &Container{Start: s, Host: h, engine: e, id: id}, nil
}

// Exec runs a command in the container and returns what it prints.
func (c *Container) Exec(ctx context.Context, args ...string) (string, error) {
	return c.engine.podman(ctx, append([]string{"exec", c.id}, args...)...)
}

// Logs is what the container said, as far as an error has room for it.
func (c *Container) Logs(ctx context.Context) string {
	out, err := c.engine.podmanCommand(ctx, "logs", c.id).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return tail(string(out))
}

// State is what raftdv status in the container says of the member there.
func (c *Container) State(ctx context.Context) (raftdv.State, error) {
	text, err := c.Exec(ctx, append([]string{"raftdv", "status", "--json"}, c.Status...)...)
	if err != nil {
		return raftdv.State{}, err
	}
	var all []struct {
		Members []raftdv.State `json:"members"`
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return raftdv.State{}, err
	}
	if len(all) != 1 || len(all[0].Members) != 1 {
		return raftdv.State{}, fmt.Errorf("%s: status of no member: %s", c.Name, text)
	}
	return all[0].Members[0], nil
}

// Stop ends the container as an operator would and returns its exit code. It is
// killed after grace seconds.
func (c *Container) Stop(ctx context.Context, grace int) (code int, err error) {
	if _, err := c.engine.podman(ctx, "stop", "--time", strconv.Itoa(grace), c.id); err != nil {
		return 0, err
	}
	return c.Wait(ctx)
}

// Wait returns the exit code of the container when it has ended.
func (c *Container) Wait(ctx context.Context) (code int, err error) {
	text, err := c.engine.podman(ctx, "wait", c.id)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// Clear removes all containers, whatever they do, and all images.
func (e *Engine) Clear(ctx context.Context) error {
	_, err := e.podman(ctx, "rm", "--all", "--force", "--time", "0")
	_, err2 := e.podman(ctx, "rmi", "--all", "--force")
	return errors.Join(err, err2)
}

// Dial connects from this process to an address in the host's network.
func (h *Host) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	ns, err := os.Open(h.NetPath())
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		}
	}()
	<-done
	return conn, err
}

// Firewall loads a ruleset of nft into the host, in place of what was there.
func (h *Host) Firewall(ctx context.Context, ruleset string) error {
	cmd := h.Command(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader("flush ruleset\n" + ruleset)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}
