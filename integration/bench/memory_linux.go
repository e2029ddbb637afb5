package bench

import "golang.org/x/sys/unix"

// InMemory reports whether dir is on a file system in memory.
func InMemory(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Type == unix.TMPFS_MAGIC
}
