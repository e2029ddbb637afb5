package netns

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Traffic is what members have sent.
type Traffic struct{ Packets, Bytes uint64 }

// NoSegments has members' devices segment nothing, so that what the kernel would
// batch counts one by one.
func (n *Network) NoSegments(ctx context.Context) error {
	for i := range n.members {
		if err := n.Run(ctx, i, fmt.Sprintf("ip link set %s gso_max_segs 1", device)); err != nil {
			return err
		}
	}
	return nil
}

// Sent is what has left the members' devices so far.
func (n *Network) Sent() (sum Traffic, err error) {
	for _, m := range n.members {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", m.Pid()))
		if err != nil {
			return sum, err
		}
		t, err := parseTraffic(text, device)
		if err != nil {
			return sum, err
		}
		sum.Packets += t.Packets
		sum.Bytes += t.Bytes
	}
	return sum, nil
}

// parseTraffic reads what a device has sent from a file like /proc/net/dev, see
// proc_net_dev(5): bytes and packets are the ninth and tenth number.
func parseTraffic(text []byte, device string) (t Traffic, err error) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if f := strings.Fields(rest); strings.TrimSpace(name) == device && len(f) >= 10 {
			var errs [2]error
			t.Bytes, errs[0] = strconv.ParseUint(f[8], 10, 64)
			t.Packets, errs[1] = strconv.ParseUint(f[9], 10, 64)
			return t, errors.Join(errs[:]...)
		}
	}
	return t, fmt.Errorf("no counters of device %s", device)
}
