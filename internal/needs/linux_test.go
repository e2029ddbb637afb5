//go:build linux

package needs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAtLeast(t *testing.T) {
	for release, want := range map[string]bool{"4.18.0": true, "4.17.9": false, "6.1.0-28-amd64": true, "3.19": false, "5.0-rc1": true, "new": false} {
		if got := atLeast(release, 4, 18) == nil; got != want {
			t.Errorf("%s: %v", release, got)
		}
	}
}

// TestGroups: a directory without the controller is no control group.
func TestGroups(t *testing.T) {
	root := t.TempDir()
	if tryGroup(root) == nil {
		t.Error("an empty directory bounds processor time")
	}
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpuset memory\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if tryGroup(root) == nil {
		t.Error("cpuset was taken for cpu")
	}
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpuset cpu\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if tryGroup(root) == nil {
		t.Error("a group without cpu.max bounds processor time")
	}
	if left, _ := filepath.Glob(filepath.Join(root, "raftdv-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestLinuxProbes: what the probes of this kernel say, for who wonders about a skip.
func TestLinuxProbes(t *testing.T) {
	all := append(append(append(Bridges(), Disks()...), CPULimits()...), Kernel(4, 18), IPv6())
	for _, n := range all {
		t.Logf("%s: %v", n.Name, n.Probe())
	}
	if Kernel(1000, 0).Probe() == nil {
		t.Error("Linux 1000.0 is here")
	}
	if Kernel(2, 0).Probe() != nil {
		t.Error("this is older than Linux 2.0")
	}
}

// TestBusyTime: time is added up as the kernel documents it.
func TestBusyTime(t *testing.T) {
	const stat = "cpu  10 20 30 1000 500 1 2 3 9 9\ncpu0 5 10 15 500 250 1 1 2 0 0\ncpu1 5 10 15 500 250 0 1 1 0 0\nintr 1\n"
	if busy, n, err := busyTime(stat); err != nil || busy != 66*userHz || n != 2 {
		t.Errorf("%v on %d processors, %v; want %v on 2", busy, n, err, 66*userHz)
	}
	for _, bad := range []string{"", "cpu 1 2\ncpu0 1\n", "cpu 1 2 3 4 5 6 7 8\n"} {
		if _, _, err := busyTime(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if share := OthersUse()(); share < -1 || share > 1.5 {
		t.Errorf("others use %v of the processors", share)
	}
}
