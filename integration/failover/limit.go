package failover

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/raftdv/dv/integration/guard"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	// limitPeriod is the period of the quota in µs: what a member may use of it
	// is used up at once, and it stands still for the rest.
	limitPeriod = 100_000
	// rmdirTimeout bounds how long a group may be busy after its process ended.
	rmdirTimeout = 5 * time.Second
)

// limits are control groups, one for each member, that bound its processor time.
type limits struct {
	dirs []string
	v2   bool
}

// newLimits makes groups that allow percent of one processor each; none for 0.
func newLimits(percent, members int) (*limits, error) {
	l := &limits{}
	if percent == 0 {
		return l, nil
	}
	if err := guard.Need("a limit of processor time"); err != nil {
		return nil, err
	}
	return l, l.make(cgroupRoot, percent, members)
}

func (l *limits) make(root string, percent, members int) error {
	parent, v2, err := cpuGroups(root)
	if err != nil {
		return err
	}
	l.v2 = v2
	for i := range members {
		dir := filepath.Join(parent, fmt.Sprintf("raftdv-%d-%d", os.Getpid(), i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return errors.Join(fmt.Errorf("a limit of processor time %w: %w", ErrNotHere, err), l.close())
		}
		l.dirs = append(l.dirs, dir)
		if err := l.set(dir, percent); err != nil {
			return errors.Join(fmt.Errorf("a limit of processor time %w: %w", ErrNotHere, err), l.close())
		}
	}
	return nil
}

// cpuGroups finds where groups that bound processor time are made: version 2 if
// it has the controller, else version 1.
func cpuGroups(root string) (dir string, v2 bool, err error) {
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		// It must be handed down to our groups.
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpu"), 0o644); err == nil {
			return root, true, nil
		}
	}
	v1 := filepath.Join(root, "cpu")
	if _, err := os.Stat(filepath.Join(v1, "cpu.cfs_quota_us")); err == nil {
		return v1, false, nil
	}
	return "", false, fmt.Errorf("a limit of processor time %w: no cpu controller below %s, of neither version", ErrNotHere, root)
}

func (l *limits) set(dir string, percent int) error {
	quota := limitPeriod * percent / 100
	if l.v2 {
		return write(dir, "cpu.max", fmt.Sprintf("%d %d", quota, limitPeriod))
	}
	if err := write(dir, "cpu.cfs_period_us", strconv.Itoa(limitPeriod)); err != nil {
		return err
	}
	return write(dir, "cpu.cfs_quota_us", strconv.Itoa(quota))
}

// apply moves a process into group i.
func (l *limits) apply(i, pid int) error {
	if len(l.dirs) == 0 {
		return nil
	}
	return write(l.dirs[i], "cgroup.procs", strconv.Itoa(pid))
}

// lift ends the limit, but not the groups.
func (l *limits) lift() (err error) {
	for _, dir := range l.dirs {
		if l.v2 {
			err = errors.Join(err, write(dir, "cpu.max", "max"))
		} else {
			err = errors.Join(err, write(dir, "cpu.cfs_quota_us", "-1"))
		}
	}
	return err
}

// close removes the groups, after their processes have ended.
func (l *limits) close() (err error) {
	deadline := time.Now().Add(rmdirTimeout)
	for _, dir := range l.dirs {
		e := os.Remove(dir)
		for e != nil && time.Now().Before(deadline) {
			time.Sleep(pollEvery)
			e = os.Remove(dir)
		}
		err = errors.Join(err, e)
	}
	l.dirs = nil
	return err
}

func write(dir, name, text string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
}
