//go:build !linux

package shm

import (
	"errors"
	"testing"
)

func TestUnsupportedIsSaid(t *testing.T) {
	_, err := New(Config{Self: 1, Dir: t.TempDir()}, nil)
	if !errors.Is(err, ErrUnsupported) || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("New: %v", err)
	}
}
