package cluster

import (
	"strings"
	"testing"
)

func TestBuildSaysWhatFailed(t *testing.T) {
	_, err := Build(t.Context(), Program{Name: "none", Package: "github.com/raftdv/dv/no/such/package"})
	if err == nil || !strings.Contains(err.Error(), "build none") || !strings.Contains(err.Error(), "no/such/package") {
		t.Error(err)
	}
}

func TestBuildOnce(t *testing.T) {
	first := program(t, Etcd)
	if second := program(t, Etcd); second != first {
		t.Errorf("%s, then %s", first, second)
	}
}
