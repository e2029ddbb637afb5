package packaging

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/internal/needs"
)

const (
	fullEnv = "RAFTDV_PACKAGE"
	image   = "localhost/raftdv-test:image"
	// buildTimeout bounds the build of the image: all of etcd, three times.
	buildTimeout = 18 * time.Minute
	// waitTimeout bounds how long a cluster may take to get somewhere.
	waitTimeout = time.Minute
	askEvery    = 200 * time.Millisecond
	// grace is what a member has for its end, in seconds, as in the examples.
	grace = 30
)

// requireImage skips the test where it cannot run.
func requireImage(t *testing.T) {
	t.Helper()
	needs.Asked(t, fullEnv, "make package-test")
	needs.All(t, append(needs.Programs("buildah", "podman", "crun", "conmon", "unshare", "nsenter", "ip", "nft", "git", "make"), needs.Root())...)
}

// A rig is an engine with a network, and the image.
type rig struct {
	*Engine
	hosts []*Host
}

func newRig(t *testing.T) *rig {
	t.Helper()
	requireImage(t)
	hub, hosts, err := NewHub(t.Context(), 3)
	if err != nil {
		needs.Refused(t, "the image is not tested: "+err.Error(), needs.Bridges()...)
	}
	t.Cleanup(func() {
		for _, h := range hosts {
			h.Close()
		}
		hub.Close()
	})
	e, err := NewEngine(t.TempDir(), hub)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context has ended.
		ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
		defer cancel()
		if err := e.Clear(ctx); err != nil {
			t.Error(err)
		}
	})
	return &rig{e, hosts}
}

// TestImage builds the image from the Dockerfile and starts what docs/examples
// start.
func TestImage(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	volumes, err := r.GoBase(ctx)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := r.Build(ctx, checkout(t), image, volumes); err != nil {
		t.Fatal(err)
	}
	t.Logf("built in %v", time.Since(began).Round(time.Second))
	t.Run("layout", func(t *testing.T) { testLayout(t, r) })
	t.Run("compose", func(t *testing.T) { testCompose(t, r) })
	t.Run("statefulset", func(t *testing.T) { testStatefulSet(t, r) })
	t.Run("member", func(t *testing.T) { testMember(t, r) })
	t.Run("shared memory", func(t *testing.T) { testSharedMemory(t, r) })
	t.Run("static pod", func(t *testing.T) { testStaticPod(t, r) })
}

// checkout copies the work tree with its history, without what is built in it:
// what a fresh clone has.
func checkout(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dv")
	run(t, "git", "clone", "-q", "--no-hardlinks", ".", dir)
	run(t, "git", "-C", dir, "rm", "-q", "-r", ".")
	for name := range strings.SplitSeq(strings.TrimSuffix(run(t, "git", "ls-files", "-z", "-co", "--exclude-standard"), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted, not yet committed
		}
		text, err2 := os.ReadFile(filepath.Join(root, name))
		to := filepath.Join(dir, name)
		err3 := os.MkdirAll(filepath.Dir(to), 0o755)
		if err := cmp.Or(err, err2, err3); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "git", "-C", dir, "reset", "-q")
	return dir
}

func testLayout(t *testing.T, r *rig) {
	err := r.Mounted(t.Context(), image, func(dir string) error {
		lines, err := Layout(dir)
		if err != nil {
			return err
		}
		golden(t, lines)
		return CheckPrograms(filepath.Join(dir, "usr/local/bin"))
	})
	if err != nil {
		t.Error(err)
	}
	got, err := r.Inspect(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	want := ImageConfig{
		ExposedPorts: map[string]struct{}{"2379/tcp": {}, "2380/tcp": {}, "2380/udp": {}},
		Env:          []string{"PATH=/usr/local/bin"}, Cmd: []string{"/usr/local/bin/etcd-dv"}, WorkingDir: "/var/lib/etcd/",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the image starts %+v, want %+v", got, want)
	}
}

// golden compares lines with testdata/image.txt.
func golden(t *testing.T, lines []string) {
	t.Helper()
	text, err := os.ReadFile("testdata/image.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(lines, "\n") + "\n"; got != string(text) {
		t.Errorf("the image holds\n%s\nwant\n%s", got, text)
	}
}

// testCompose runs the services of compose.yaml, each as on a host of its own,
// with the firewall that docs/operations.md shows.
func testCompose(t *testing.T, r *rig) {
	services, err := ReadManifest(t.Context(), checker(t), "compose", filepath.Join(root, "docs/examples/compose/compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	rules := firewallOfDocs(t)
	for _, h := range r.hosts {
		if err := h.Firewall(t.Context(), rules); err != nil {
			t.Fatal(err)
		}
	}
	members := r.start(t, r.hosts, services, nil, nil)
	for _, m := range members {
		eventually(t, members, "is healthy", func(ctx context.Context) error {
			_, err := m.Exec(ctx, m.Check...)
			return err
		})
	}
	writeAndRead(t, members, "one")
	allBy(t, members, "udp")

	// The control: what says udp must be able to say something else.
	blocked := members[1]
	const first = "iif lo accept"
	if err := blocked.Host.Firewall(t.Context(), strings.Replace(rules, first, "udp dport 2380 drop; "+first, 1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, members, "goes by stream", func(ctx context.Context) error { return by(ctx, blocked, "stream") })
	writeAndRead(t, members, "two")
	saysWhy(t, blocked, members)
	if err := blocked.Host.Firewall(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	allBy(t, members, "udp")

	members[0].sameAsEtcd(t)
	members[0].asDocumented(t)
	stopAll(t, members)
	for _, h := range r.hosts {
		if err := h.Firewall(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
}

// saysWhy: status names the firewall as what may be wrong, with the words that
// docs/operations.md explains.
func saysWhy(t *testing.T, blocked *Container, members []*Container) {
	t.Helper()
	page, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, members, "says why", func(ctx context.Context) error {
		s, err := blocked.State(ctx)
		if err != nil {
			return err
		}
		for _, p := range s.Peers {
			for _, l := range p.Links {
				if l.Fabric == "udp" && explained(string(page), l.Down) {
					return nil
				}
			}
		}
		return fmt.Errorf("the page explains nothing that %s says: %+v", blocked.Name, s.Peers)
	})
}

// sameAsEtcd: the other names and programs of etcd's image are there, and
// etcdctl knows the variables that the examples use.
func (c *Container) sameAsEtcd(t *testing.T) {
	t.Helper()
	ours, err := c.Exec(t.Context(), "etcd-dv", "--version")
	if err != nil || !strings.Contains(ours, "raftdv Hook: etcd server") {
		t.Errorf("etcd-dv --version: %q, %v", ours, err)
	}
	if theirs, err := c.Exec(t.Context(), "etcd", "--version"); err != nil || theirs != ours {
		t.Errorf("etcd --version: %q, %v, want %q", theirs, err, ours)
	}
	for _, args := range [][]string{{"etcdutl", "version"}, {"raftdv", "--version"}, {"raftdv", "doctor"}} {
		if _, err := c.Exec(t.Context(), args...); err != nil {
			t.Error(err)
		}
	}
	help, err := c.Exec(t.Context(), "etcdctl", "options")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range etcdctlVars {
		if flag := "--" + strings.ToLower(strings.TrimPrefix(name, "ETCDCTL_")); !strings.Contains(help, flag+" ") {
			t.Errorf("etcdctl has no %s for %s", flag, name)
		}
	}
}

// asDocumented runs the commands with which docs/operations.md looks at a
// cluster. The member's folder is the only one that can be written to.
func (c *Container) asDocumented(t *testing.T) {
	t.Helper()
	page, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"etcdctl endpoint health --cluster":                   "http://etcd3:2379 is healthy",
		"etcdctl endpoint status --cluster --write-out=table": "RAFT APPLIED INDEX",
		"etcdctl snapshot save before.db":                     "Snapshot saved at before.db",
	} {
		if !strings.Contains(string(page), command) {
			t.Errorf("docs/operations.md does not say %s", command)
		}
		out, err := c.engine.podmanCommand(t.Context(), append([]string{"exec", c.id}, strings.Fields(command)...)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v: %s", command, err, out)
		}
	}
}

// testStatefulSet runs the pods of statefulset.yaml, with the rights that it
// gives them, and asks what its probes ask.
func testStatefulSet(t *testing.T, r *rig) {
	all, err := ReadManifest(t.Context(), checker(t), "kubernetes", filepath.Join(root, "docs/examples/kubernetes/statefulset.yaml"))
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	var pods []Start
	var names []string
	for i := range r.hosts {
		pod := all[0]
		pod.Name = fmt.Sprintf("etcd-%d", i)
		pod.Env = slices.Clone(pod.Env)
		for j, v := range pod.Env {
			pod.Env[j].Value = cmp.Or(map[string]string{"metadata.name": pod.Name, "metadata.namespace": "ns"}[v.Field], v.Value)
		}
		if pod.Env, err = expand(pod.Env); err != nil {
			t.Fatal(err)
		}
		pods, names = append(pods, pod), append(names, pod.Name+".etcd-peers.ns.svc")
	}
	members := r.start(t, r.hosts, pods, names, []string{
		"--read-only", "--read-only-tmpfs=false", "--user", "65532:65532", "--cap-drop", "all", "--security-opt", "no-new-privileges",
	})
	for _, m := range members {
		for _, path := range []string{"/readyz", "/livez"} {
			eventually(t, members, path, func(ctx context.Context) error { return m.Host.get(ctx, "http://127.0.0.1:2381"+path) })
		}
	}
	writeAndRead(t, members, "one")
	allBy(t, members, "udp")
	stopAll(t, members)
}

// get fails unless url answers 200 in the host's network.
func (h *Host) get(ctx context.Context, url string) error {
	client := &http.Client{Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxTail))
		return fmt.Errorf("%s answers %s: %s", url, resp.Status, text)
	}
	return nil
}

// start runs one member on each host; names are what they call each other, by
// default their own.
func (r *rig) start(t *testing.T, on []*Host, starts []Start, names, args []string) (members []*Container) {
	t.Helper()
	var hosts []string
	for i, s := range starts {
		name := s.Name
		if names != nil {
			name = names[i]
		}
		hosts = append(hosts, "--add-host", name+":"+on[i].Addr)
	}
	for i, s := range starts {
		data := t.TempDir()
		if err := os.Chmod(data, 0o777); err != nil {
			t.Fatal(err)
		}
		m, err := r.Run(t.Context(), image, on[i], s, slices.Concat(hosts, args, []string{"--volume", data + ":/var/lib/etcd"})...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s:\n%s", m.Name, m.Logs(context.Background()))
			}
			r.podman(context.Background(), "rm", "--force", "--time", "0", m.id)
		})
		members = append(members, m)
	}
	return members
}

func eventually(t *testing.T, members []*Container, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	ask := time.NewTicker(askEvery)
	defer ask.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			for _, m := range members {
				s, _ := m.State(context.Background())
				t.Logf("%s: %+v", m.Name, s)
			}
			t.Fatalf("%s: not within %v: %v", what, waitTimeout, err)
		case <-ask.C:
		}
	}
}

// writeAndRead writes through the first member and reads through the last.
func writeAndRead(t *testing.T, members []*Container, value string) {
	t.Helper()
	if out, err := members[0].Exec(t.Context(), "etcdctl", "put", "key", value); err != nil || out != "OK" {
		t.Fatalf("put: %q, %v", out, err)
	}
	out, err := members[len(members)-1].Exec(t.Context(), "etcdctl", "get", "key", "--print-value-only")
	if err != nil || out != value {
		t.Fatalf("get: %q, %v, want %q", out, err, value)
	}
}

// allBy waits until every member reaches both others by path.
func allBy(t *testing.T, members []*Container, path string) {
	t.Helper()
	for _, m := range members {
		eventually(t, members, "reached by "+path, func(ctx context.Context) error { return by(ctx, m, path) })
	}
}

func by(ctx context.Context, m *Container, path string) error {
	s, err := m.State(ctx)
	if err != nil {
		return err
	}
	for _, p := range s.Peers {
		if p.Path != path {
			return fmt.Errorf("%s reaches %s by %s, want %s", m.Name, p.Member, p.Path, path)
		}
	}
	if len(s.Peers) != 2 {
		return fmt.Errorf("%s has %d peers, want 2", m.Name, len(s.Peers))
	}
	return nil
}

// stopAll: SIGTERM ends every member within its grace, as the first process of
// its container.
func stopAll(t *testing.T, members []*Container) {
	t.Helper()
	for _, m := range members {
		if code, err := m.Stop(t.Context(), grace); err != nil || code != 0 {
			t.Errorf("%s ended with %d, %v", m.Name, code, err)
		}
	}
}
