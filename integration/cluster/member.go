package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// probeEvery and probeTimeout pace the question whether a member is ready.
	probeEvery   = 50 * time.Millisecond
	probeTimeout = time.Second
	// tailBytes of a member's log go into an error about it.
	tailBytes = 4 << 10
)

// ErrNotRunning is returned by calls that need a running member.
var ErrNotRunning = errors.New("the member is not running")

// A Member is one member of a Cluster, running or not.
type Member struct {
	Name      string
	Dir       string // its folder
	ClientURL string
	PeerURL   string

	cluster *Cluster
	place   Place

	mu     sync.Mutex
	binary string
	state  string // of the cluster, new or existing
	proc   *process
}

// DataDir is the member's --data-dir.
func (m *Member) DataDir() string { return filepath.Join(m.Dir, "data") }

// LogPath is the file that holds the output of all its runs.
func (m *Member) LogPath() string { return filepath.Join(m.Dir, "log") }

// Pid returns the process id, or 0 if the member is not running.
func (m *Member) Pid() int {
	if p := m.process(); p != nil && p.running() {
		return p.cmd.Process.Pid
	}
	return 0
}

func (m *Member) process() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proc
}

// Binary returns the program that the next Start runs.
func (m *Member) Binary() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.binary
}

// SetBinary makes the next Start run another program on the same data.
func (m *Member) SetBinary(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.binary = path
}

// Start runs the member's process. It does not wait for it to be ready.
func (m *Member) Start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc != nil && m.proc.running() {
		return fmt.Errorf("start %s: it is running", m.Name)
	}
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return err
	}
	command := slices.Concat(m.place.Command, []string{m.binary}, m.args())
	p, err := startProcess(command[0], command[1:], environ(m.cluster.cfg.Env), m.LogPath())
	if err != nil {
		return fmt.Errorf("member %s: %w", m.Name, err)
	}
	m.proc = p
	return nil
}

func (m *Member) args() []string {
	c := m.cluster
	args := []string{
		"--name", m.Name,
		"--data-dir", m.DataDir(),
		"--listen-client-urls", m.ClientURL, "--advertise-client-urls", m.ClientURL,
		"--listen-peer-urls", m.PeerURL, "--initial-advertise-peer-urls", m.PeerURL,
		"--initial-cluster", c.initialCluster(),
		"--initial-cluster-token", c.token,
		"--initial-cluster-state", m.state,
	}
	args = append(args, c.tls.args()...)
	return append(args, c.cfg.Args...)
}

// WaitReady returns when the member answers a linearizable read, which needs
// a leader, or fails when its process ends or ctx does.
func (m *Member) WaitReady(ctx context.Context) error {
	p := m.process()
	if p == nil {
		return fmt.Errorf("member %s: %w", m.Name, ErrNotRunning)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-p.done:
			cancel(fmt.Errorf("its process ended: %w", p.err))
		case <-stop:
		}
	})
	defer wg.Wait()
	defer close(stop)
	if err := m.WaitAnswer(ctx); err != nil {
		return fmt.Errorf("%w:\n%s", err, m.LogTail())
	}
	return nil
}

// WaitAnswer is WaitReady for a process that somebody else started on the
// member's addresses.
func (m *Member) WaitAnswer(ctx context.Context) error {
	cli, err := m.Client()
	if err != nil {
		return err
	}
	defer cli.Close()
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		err := ready(ctx, cli)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("member %s is not ready: %w (last answer: %v)", m.Name, context.Cause(ctx), err)
		case <-t.C:
		}
	}
}

func ready(ctx context.Context, cli *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := cli.Get(ctx, "\x00ready")
	return err
}

// Stop ends the member as an operator would (SIGTERM); what takes longer than
// Config.StopTimeout is killed. Stopping a stopped member is no error.
func (m *Member) Stop() { m.end(syscall.SIGTERM) }

// Kill ends the process at once (SIGKILL).
func (m *Member) Kill() { m.end(syscall.SIGKILL) }

func (m *Member) end(sig syscall.Signal) {
	if p := m.process(); p != nil {
		p.end(sig, m.cluster.cfg.StopTimeout)
	}
}

// Pause stops the process where it is (SIGSTOP), as a hung host would.
func (m *Member) Pause() error { return m.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (m *Member) Resume() error { return m.signal(syscall.SIGCONT) }

func (m *Member) signal(sig syscall.Signal) error {
	p := m.process()
	if p == nil || p.signal(sig) != nil {
		return fmt.Errorf("signal %v to %s: %w", sig, m.Name, ErrNotRunning)
	}
	return nil
}

// Restart starts a stopped member again and waits until it is ready.
func (m *Member) Restart(ctx context.Context) error {
	if err := m.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, m.cluster.cfg.StartTimeout)
	defer cancel()
	return m.WaitReady(ctx)
}

// Client returns a client of this member alone. The caller closes it.
func (m *Member) Client() (*clientv3.Client, error) {
	return m.cluster.client([]string{m.ClientURL})
}

// HTTPClient returns a client that the member's HTTP listeners accept. The
// caller closes its idle connections.
func (m *Member) HTTPClient() (*http.Client, error) {
	tls, err := m.cluster.tls.client()
	if err != nil {
		return nil, err
	}
	t := &http.Transport{TLSClientConfig: tls}
	if m.place.Socket != "" {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", m.place.Socket)
		}
	}
	return &http.Client{Transport: t}, nil
}

// WebURL is where HTTPClient finds the pages of the member's client listener.
func (m *Member) WebURL() string {
	if m.place.Socket != "" {
		return m.cluster.tls.scheme() + "://localhost"
	}
	return m.ClientURL
}

// Status asks the member for its own view.
func (m *Member) Status(ctx context.Context) (*clientv3.StatusResponse, error) {
	cli, err := m.Client()
	if err != nil {
		return nil, err
	}
	defer cli.Close()
	return cli.Status(ctx, m.ClientURL)
}

// LogTail returns the end of the member's log.
func (m *Member) LogTail() string {
	text, err := os.ReadFile(m.LogPath())
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-tailBytes):]))
}
