package failover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/guard"
)

const (
	// diskBytes of each member's disk; the file under it is sparse.
	diskBytes = 1 << 30
	// freeze and thaw are FIFREEZE and FITHAW of linux/fs.h.
	freeze, thaw = 0xc0045877, 0xc0045878
)

// diskGuard thaws and unmounts. A member that was killed may hold the disk for
// a moment longer: then it goes with the last process that does.
const diskGuard = `echo ready; cat >/dev/null; fsfreeze --unfreeze "$0" 2>/dev/null; umount "$0" 2>/dev/null || umount --lazy "$0"`

// disks is the lab whose members have a file system each, ext4 on a loop device,
// for their data; logs are elsewhere. A stalled disk is a frozen file system:
// reads go on, whatever writes or syncs waits in the kernel until it is thawed.
// Until then nothing is slower than without it.
type disks struct {
	all []*disk
}

type disk struct {
	guard *guard.Guard
	root  *os.File // of the file system
}

func newDisks(dir string) (*disks, error) {
	if err := guard.Need("stalling a disk", "mkfs.ext4", "mount", "umount", "fsfreeze"); err != nil {
		return nil, err
	}
	if err := tryDisk(dir); err != nil {
		return nil, fmt.Errorf("stalling a disk %w: %w", ErrNotHere, err)
	}
	return &disks{}, nil
}

// tryDisk makes a disk and removes it.
func tryDisk(dir string) error {
	tmp, err := os.MkdirTemp(dir, "raftdv-disk-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	d, err := newDisk(context.Background(), tmp)
	if err != nil {
		return err
	}
	return errors.Join(d.set(freeze), d.set(thaw), d.close())
}

// newDisk makes a disk in dir and mounts it at dir/data.
func newDisk(ctx context.Context, dir string) (*disk, error) {
	at, image := filepath.Join(dir, "data"), filepath.Join(dir, "disk")
	if err := os.MkdirAll(at, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return nil, err
	}
	// The loop device keeps it for as long as it is mounted.
	defer os.Remove(image)
	if err := os.Truncate(image, diskBytes); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", args[0], err, out)
		}
	}
	g, err := guard.New("sh", "-c", diskGuard, at)
	if err != nil {
		return nil, errors.Join(err, syscall.Unmount(at, 0))
	}
	d := &disk{guard: g}
	if d.root, err = os.Open(at); err != nil {
		return nil, errors.Join(err, d.close())
	}
	// etcd would wonder about it.
	if err := os.Remove(filepath.Join(at, "lost+found")); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *disk) set(request uint) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.root.Fd(), uintptr(request), 0)
	if errno != 0 {
		return fmt.Errorf("freeze or thaw %s: %w", d.root.Name(), errno)
	}
	return nil
}

func (d *disk) close() error {
	if d.root != nil {
		d.root.Close()
	}
	return d.guard.Close()
}

func (l *disks) place(_ int, dir string) (cluster.Place, error) {
	d, err := newDisk(context.Background(), dir)
	if err != nil {
		return cluster.Place{}, err
	}
	l.all = append(l.all, d)
	return cluster.Place{}, nil
}

func (l *disks) strike(i int, _ *cluster.Member) error { return l.all[i].set(freeze) }

func (l *disks) mend(_ context.Context, i int, _ *cluster.Member) error { return l.all[i].set(thaw) }

// release thaws what is frozen.
func (l *disks) release() (err error) {
	for _, d := range l.all {
		if e := d.set(thaw); e != nil && !errors.Is(e, unix.EINVAL) { // it was not frozen
			err = errors.Join(err, e)
		}
	}
	return err
}

func (l *disks) close() (err error) {
	for _, d := range l.all {
		err = errors.Join(err, d.close())
	}
	l.all = nil
	return err
}
