//go:build !linux

package needs

import (
	"errors"
	"fmt"
	"runtime"
)

var errNotLinux = errors.New("this is " + runtime.GOOS)

func linux(name string) Need { return Need{name, func() error { return errNotLinux }} }

// Kernel is a Linux of this version or a later one.
func Kernel(major, minor int) Need { return linux(fmt.Sprintf("Linux %d.%d", major, minor)) }

// NetNS is the right to make network namespaces.
func NetNS() Need { return linux("network namespaces") }

// Bridges are network namespaces with bridges and veth pairs.
func Bridges() []Need { return []Need{linux("bridges and veth pairs")} }

// Disks are file systems on loop devices that can be frozen.
func Disks() []Need { return []Need{linux("ext4 on a loop device")} }

// CPULimits are control groups that bound processor time.
func CPULimits() []Need { return []Need{linux("control groups that bound processor time")} }

// OthersUse is not known: nothing is excused with it.
func OthersUse() (share func() float64) { return func() float64 { return 0 } }
