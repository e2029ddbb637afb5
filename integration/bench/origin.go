package bench

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/raftdv/dv/internal/version"
)

// Origin says where a result comes from.
type Origin struct {
	// Version of the module that the program was built from, with the commit if
	// it is no release.
	Version string `json:"version"`
	// Machine: processors, system, Go.
	Machine string `json:"machine"`
}

// Here is the origin of what this program measures on this machine.
func Here() Origin {
	system := runtime.GOOS
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		system = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	return Origin{
		Version: version.Version(),
		Machine: fmt.Sprintf("%d processors, %s, %s, %s", runtime.GOMAXPROCS(0), runtime.GOARCH, system, runtime.Version()),
	}
}
