package storm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func storeSpec(t *testing.T) *Spec {
	t.Helper()
	s, err := Parse("s.yaml", []byte("name: s\nclaim: x\nmatrix: {transport: dv}\nseeds: {count: 5}\nexpect: [failed.sum = 0]\n"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRefusedFolder: a folder that is refused loses nothing, and neither does one with a
// line that cannot be read.
func TestRefusedFolder(t *testing.T) {
	s := storeSpec(t)
	r := failed(2, "x")
	row := line(s.row(&r))
	for name, files := range map[string][2]string{
		"other results": {"trial,seed\n", row},
		"other early":   {line(header()), "1,2,3\n"},
	} {
		dir := t.TempDir()
		for i, file := range []string{resultsFile, earlyFile} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(files[i]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := openStore(s, Shard{1, 1}, dir); err == nil {
			t.Errorf("%s: it was not refused", name)
		}
		for i, file := range []string{resultsFile, earlyFile} {
			if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(b) != files[i] {
				t.Errorf("%s: %s holds %q, %v", name, file, b, err)
			}
		}
	}
}

// TestBrokenWrite: after a write that failed nothing is written, so that what is half
// written is the end; what was told is still there to be told again.
func TestBrokenWrite(t *testing.T) {
	s, dir := storeSpec(t), t.TempDir()
	st, err := openStore(s, Shard{1, 1}, dir)
	if err != nil {
		t.Fatal(err)
	}
	add := func(i uint64) error { r := failed(i, "x"); return st.add(&r) }
	if err := errors.Join(add(0), add(2)); err != nil {
		t.Fatal(err)
	}
	whole := st.out
	if st.out, err = os.Open(whole.Name()); err != nil { // not for writing
		t.Fatal(err)
	}
	if err := add(1); err == nil || st.next != 1 {
		t.Errorf("%v, next %d", err, st.next)
	}
	broken := st.out
	st.out = whole // it works again, too late
	if err := add(3); err == nil {
		t.Error("it went on after a write that failed")
	}
	if err := errors.Join(broken.Close(), st.close()); err != nil {
		t.Fatal(err)
	}
	again, err := openStore(s, Shard{1, 1}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if again.next != 1 || !again.done(0) || again.done(1) || !again.done(2) || again.done(3) {
		t.Errorf("next %d, early %v", again.next, again.ahead)
	}
	if err := again.close(); err != nil {
		t.Error(err)
	}
}

// TestLocked: one process at a time writes to a folder.
func TestLocked(t *testing.T) {
	s, dir := storeSpec(t), t.TempDir()
	try := func(i uint64) (Result, error) { return failed(i, ""), nil }
	run := func() error {
		return s.Run(t.Context(), RunConfig{Dir: dir, New: func() (Trier, error) { return tryFunc(try), nil }})
	}
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(); !errors.Is(err, ErrLocked) {
		t.Errorf("locked: %v", err)
	}
	unlock()
	if err := run(); err != nil {
		t.Errorf("unlocked: %v", err)
	}
}
