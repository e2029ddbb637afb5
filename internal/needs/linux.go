//go:build linux

package needs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Kernel is a kernel of this version or a later one.
func Kernel(major, minor int) Need {
	return Need{fmt.Sprintf("Linux %d.%d", major, minor), func() error {
		var u unix.Utsname
		if err := unix.Uname(&u); err != nil {
			return err
		}
		return atLeast(unix.ByteSliceToString(u.Release[:]), major, minor)
	}}
}

func atLeast(release string, major, minor int) error {
	var a, b int
	if _, err := fmt.Sscanf(release, "%d.%d", &a, &b); err != nil {
		return fmt.Errorf("version %q: %w", release, err)
	}
	if a < major || a == major && b < minor {
		return fmt.Errorf("it is %s", release)
	}
	return nil
}

// NetNS is the right to make network namespaces.
func NetNS() Need {
	return Need{"network namespaces", func() error {
		c := exec.Command("/bin/true")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		return c.Run()
	}}
}

// Bridges are network namespaces with bridges and veth pairs, made by unshare and ip.
func Bridges() []Need {
	return append(Programs("unshare", "nsenter", "ip"), Root(), NetNS(), Need{"bridges and veth pairs", func() error {
		out, err := exec.Command("unshare", "--net", "sh", "-c", "ip link add probe0 type bridge && ip link add probe1 type veth peer name probe2").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
		}
		return nil
	}})
}

// Disks are file systems on loop devices that can be frozen.
func Disks() []Need {
	return append(Programs("mkfs.ext4", "mount", "umount", "fsfreeze"), Root(), Need{"ext4 on a loop device", tryDisk})
}

func tryDisk() (err error) {
	dir, err := os.MkdirTemp("", "raftdv-needs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	at, image := filepath.Join(dir, "at"), filepath.Join(dir, "image")
	if err := errors.Join(os.Mkdir(at, 0o700), os.WriteFile(image, nil, 0o600), os.Truncate(image, 16<<20)); err != nil {
		return err
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, at}, {"umount", at}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// CPULimits are control groups that bound processor time, of either version.
func CPULimits() []Need {
	return []Need{Root(), {"control groups that bound processor time", func() error { return tryGroup("/sys/fs/cgroup") }}}
}

func tryGroup(root string) error {
	parent, file := filepath.Join(root, "cpu"), "cpu.cfs_quota_us"
	if list, err := os.ReadFile(filepath.Join(root, "cgroup.controllers")); err == nil && slices.Contains(strings.Fields(string(list)), "cpu") {
		parent, file = root, "cpu.max"
		// An error shows below: then groups have no such file.
		os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpu"), 0o644)
	}
	dir := filepath.Join(parent, fmt.Sprintf("raftdv-needs-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.Remove(dir)
	_, err := os.Stat(filepath.Join(dir, file))
	return err
}

// userHz is the unit of /proc/stat, the same on all of Go's architectures.
const userHz = time.Second / 100

// OthersUse watches which share of the machine's processors other processes use, or other
// machines on the same host, until it is called for the result; 0 if it cannot be known.
func OthersUse() (share func() float64) {
	begin, all, own, err := processorTime()
	return func() float64 {
		end, allNow, ownNow, err2 := processorTime()
		wall := end.Sub(begin).Seconds()
		if err != nil || err2 != nil || wall <= 0 {
			return 0
		}
		return ((allNow - all) - (ownNow - own)).Seconds() / wall
	}
}

// processorTime is what all have used, by the number of processors, and this process.
func processorTime() (at time.Time, all, own time.Duration, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return at, 0, 0, err
	}
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return at, 0, 0, err
	}
	busy, processors, err := busyTime(string(text))
	if err != nil {
		return at, 0, 0, err
	}
	mine := time.Duration(use.Utime.Nano() + use.Stime.Nano())
	return time.Now(), busy / time.Duration(processors), mine / time.Duration(processors), nil
}

// busyTime adds up what the first line of /proc/stat says, but for idle and waiting for
// disks, and counts processors. Guests' time is in the first fields as well.
func busyTime(stat string) (busy time.Duration, processors int, err error) {
	processors = strings.Count(stat, "\ncpu")
	first, _, _ := strings.Cut(stat, "\n")
	var f [8]int64
	_, err = fmt.Sscanf(first, "cpu %d %d %d %d %d %d %d %d", &f[0], &f[1], &f[2], &f[3], &f[4], &f[5], &f[6], &f[7])
	if err == nil && processors == 0 {
		err = errors.New("no processor")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q: %w", first, err)
	}
	return time.Duration(f[0]+f[1]+f[2]+f[5]+f[6]+f[7]) * userHz, processors, nil
}
