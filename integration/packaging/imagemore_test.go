package packaging

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/raftdv"
)

// certificates writes those that an example mounts, under its names, and
// returns their folder.
func (r *rig) certificates(t *testing.T) string {
	t.Helper()
	var addrs []net.IP
	for _, h := range r.hosts {
		addrs = append(addrs, net.ParseIP(h.Addr))
	}
	dir := t.TempDir()
	info, err := cluster.Certificates(filepath.Join(dir, "made"), addrs...)
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{
		"ca.crt": info.TrustedCAFile, "server.crt": info.CertFile, "server.key": info.KeyFile, "peer.crt": info.CertFile, "peer.key": info.KeyFile,
	} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// testMember runs member.yaml on three hosts that publish its ports, with TLS,
// and lets it call no more of the kernel than etcd-dv.service does.
func testMember(t *testing.T, r *rig) {
	var list []string
	for i, h := range r.hosts {
		list = append(list, fmt.Sprintf("m%d=https://%s:2380", i+1, h.Addr))
	}
	var starts []Start
	var behind []*Host
	for i, h := range r.hosts {
		s, err := ReadManifest(t.Context(), checker(t), "compose", filepath.Join(root, "docs/examples/compose/member.yaml"),
			"HOST="+h.Addr, fmt.Sprintf("NAME=m%d", i+1), "CLUSTER="+strings.Join(list, ","))
		if err != nil {
			t.Fatal(err)
		}
		inner, err := h.Behind(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { inner.Close() })
		starts, behind = append(starts, s...), append(behind, inner)
	}
	args := []string{"--volume", r.certificates(t) + ":/etc/etcd-dv:ro"}
	args = append(args, r.confined(t)...)
	members := r.start(t, behind, starts, nil, args)
	for _, m := range members {
		m.Status = []string{"--endpoints=https://127.0.0.1:2379", "--cacert=/etc/etcd-dv/ca.crt", "--cert=/etc/etcd-dv/server.crt", "--key=/etc/etcd-dv/server.key"}
		eventually(t, members, "is healthy", func(ctx context.Context) error {
			_, err := m.Exec(ctx, m.Check...)
			return err
		})
	}
	writeAndRead(t, members, "one")
	allBy(t, members, "udp")
	for _, m := range members {
		s, err := m.State(t.Context())
		if err != nil || slices.ContainsFunc(s.Peers, func(p raftdv.PeerState) bool { return !p.Sealed }) {
			t.Errorf("%s: %v: not sealed: %+v", m.Name, err, s.Peers)
		}
	}
	stopAll(t, members)

	// The control: a unit that allowed too little would be found.
	calls := filepath.Join(t.TempDir(), "little.json")
	if err := SyscallFilter(t.Context(), "@default", calls); err != nil {
		t.Fatal(err)
	}
	if m, err := r.Run(t.Context(), image, behind[0], starts[0], "--security-opt", "seccomp="+calls); err == nil {
		if code, err := m.Wait(t.Context()); err != nil || code == 0 {
			t.Errorf("with @default alone it ends with %d, %v", code, err)
		}
	}
}

// confined are podman's arguments for the unit's SystemCallFilter.
func (r *rig) confined(t *testing.T) []string {
	t.Helper()
	needsSystemd(t)
	text, err := os.ReadFile(filepath.Join(root, "docs/examples/systemd/etcd-dv.service"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\nSystemCallFilter=")
	if !ok {
		t.Fatal("etcd-dv.service has no SystemCallFilter")
	}
	filter, _, _ := strings.Cut(rest, "\n")
	path := filepath.Join(t.TempDir(), "seccomp.json")
	if err := SyscallFilter(t.Context(), filter, path); err != nil {
		t.Fatal(err)
	}
	return []string{"--security-opt", "seccomp=" + path, "--security-opt", "no-new-privileges"}
}

// testSharedMemory runs the services of compose.yaml with a folder in a volume
// that they share, under the unit's filter: they are on one host, whatever their
// networks are.
func testSharedMemory(t *testing.T, r *rig) {
	services, err := ReadManifest(t.Context(), checker(t), "compose", filepath.Join(root, "docs/examples/compose/compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range services {
		env := slices.DeleteFunc(slices.Clone(s.Env), func(v Var) bool { return v.Name == "ETCD_DV_FABRICS" })
		services[i].Env = append(env, Var{Name: "ETCD_DV_SHM_DIR", Value: "/run/shared/dv"})
		if err := CheckStart(services[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range r.hosts {
		if err := h.Firewall(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	members := r.start(t, r.hosts, services, nil, append(r.confined(t), "--volume", t.TempDir()+":/run/shared"))
	allBy(t, members, "shm")
	writeAndRead(t, members, "one")
	stopAll(t, members)
}

// testStaticPod runs the pod of a control-plane node, its only one.
func testStaticPod(t *testing.T, r *rig) {
	starts, err := ReadManifest(t.Context(), checker(t), "kubernetes", filepath.Join(root, "docs/examples/kubernetes/static-pod.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.hosts[0].Firewall(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	const mounted = "/etc/kubernetes/pki/etcd"
	members := r.start(t, r.hosts, starts, nil, []string{"--volume", r.certificates(t) + ":" + mounted + ":ro"})
	pod := members[0]
	for _, path := range []string{"/readyz", "/livez"} {
		eventually(t, members, path, func(ctx context.Context) error { return pod.Host.get(ctx, "http://127.0.0.1:2381"+path) })
	}
	ctl := []string{"etcdctl", "--endpoints=https://127.0.0.1:2379", "--cacert=" + mounted + "/ca.crt", "--cert=" + mounted + "/server.crt", "--key=" + mounted + "/server.key"}
	if out, err := pod.Exec(t.Context(), append(ctl, "put", "key", "value")...); err != nil || out != "OK" {
		t.Errorf("put: %q, %v", out, err)
	}
	pod.Status = []string{"--endpoints=http://127.0.0.1:2381"}
	if s, err := pod.State(t.Context()); err != nil || len(s.Peers) != 0 ||
		!slices.ContainsFunc(s.Fabrics, func(f raftdv.FabricState) bool { return f.Name == "udp" && f.Error == "" }) {
		t.Errorf("state %+v, %v", s, err)
	}
	stopAll(t, members)
}
