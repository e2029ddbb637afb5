package fabrictest

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReferencePort(t *testing.T) { Run(t, refFactory("")) }
