package guard

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGuard(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	g, err := New("sh", "-c", `echo ready; cat >/dev/null; echo done >"$0"`, mark)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("it did not wait")
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Error("it did not do its work")
	}
	if _, err := New("sh", "-c", "echo broken >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("a guard that is not ready: %v", err)
	}
}

func TestNeedRefusesWhatIsNotThere(t *testing.T) {
	if err := Need("it", "no-such-program-anywhere"); !errors.Is(err, ErrNotHere) {
		t.Errorf("%v", err)
	}
}
