//go:build !linux

package doctor

import "runtime"

// machine is not looked at here: the fabrics are made for Linux.
type machine struct{}

func thisMachine() *machine { return &machine{} }

func (*machine) kernel() string { return runtime.GOOS }

var probes []probe
