package version

import "runtime/debug"

// Devel is the version of a binary that was built outside of a tagged
// checkout.
const Devel = "(devel)"

// Version is what the go command recorded in the binary: a release, a
// pseudo-version of the commit, or Devel.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Devel
	}
	return of(info)
}

func of(info *debug.BuildInfo) string {
	if info.Main.Version == "" {
		return Devel
	}
	return info.Main.Version
}
