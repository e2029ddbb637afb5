package version

import (
	"runtime/debug"
	"testing"
)

func TestOf(t *testing.T) {
	for recorded, want := range map[string]string{"v1.2.3": "v1.2.3", "(devel)": Devel, "": Devel} {
		if got := of(&debug.BuildInfo{Main: debug.Module{Version: recorded}}); got != want {
			t.Errorf("%q is shown as %q, want %q", recorded, got, want)
		}
	}
}

func TestVersionIsNeverEmpty(t *testing.T) {
	if Version() == "" {
		t.Error("no version")
	}
}
