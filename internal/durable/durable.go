package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Write replaces file with data, synced, or leaves it as it was.
func Write(file string, data []byte) (err error) {
	dir := filepath.Dir(file)
	tmp, err := os.CreateTemp(dir, filepath.Base(file)+".tmp")
	if err != nil {
		return fmt.Errorf("%w: make the directory writable", err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
			err = fmt.Errorf("write %s: %w", file, err)
		}
	}()
	if _, err = tmp.Write(data); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// NextIncarnation returns a number above every one that this member used before:
// one more than the file holds, and at least the clock in microseconds, so that
// a member whose disk was lost still rises. The new number is on disk before it is
// returned. Without a file the clock decides.
func NextIncarnation(file string, now time.Time) (uint64, error) {
	next := uint64(max(now.UnixMicro(), 1))
	if file == "" {
		return next, nil
	}
	text, err := os.ReadFile(file)
	switch {
	case err == nil:
		last, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("incarnation file %s holds %q, not a number: delete it if this member's clock was never set back, and start again", file, text)
		}
		next = max(next, last+1)
	case !errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("read the incarnation: %w: make the file readable, or move it away", err)
	}
	if err := Write(file, []byte(strconv.FormatUint(next, 10)+"\n")); err != nil {
		return 0, fmt.Errorf("keep the incarnation: %w", err)
	}
	return next, nil
}
