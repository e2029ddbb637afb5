package shm

import (
	"os"
	"strings"
)

// HostID names this boot of this host: only members whose ids are equal can
// meet. It is empty where there is no shared memory. Containers of one host have
// it in common, whether or not they share a directory: if they do not, they
// just never meet.
func HostID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
