package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/raftdv/dv/internal/doctor"
)

func runDoctor(args ...string) (string, error) {
	cmd := newDoctorCmd()
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.Execute()
	return out.String(), err
}

func TestDoctor(t *testing.T) {
	text, err := runDoctor("--json")
	var r doctor.Report
	if err != nil || json.Unmarshal([]byte(text), &r) != nil || len(r.Verdicts) != len(doctor.Fabrics()) {
		t.Errorf("%v\n%s", err, text)
	}
	if text, err := runDoctor(); err != nil || !strings.Contains(text, "FABRIC") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestDoctorExitStatus(t *testing.T) {
	text, err := runDoctor("--require=stream,tte")
	if err == nil || !strings.Contains(err.Error(), "tte") || strings.Contains(err.Error(), "stream") || !strings.Contains(text, "tte") {
		t.Errorf("%v\n%s", err, text)
	}
	if _, err := runDoctor("--require=carrier-pigeon"); err == nil || !strings.Contains(err.Error(), "carrier-pigeon") || !strings.Contains(err.Error(), "udp") {
		t.Errorf("%v", err)
	}
}
