package main

import (
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ownAddress is the address of a test's network namespace that is no loopback
// address; the default route leads to it. Tests that look for the machine's
// own address find it; nothing leaves the namespace.
var ownAddress = net.IPv4(10, 254, 254, 1)

// bringUpNetwork sets up the namespace that the process is in.
func bringUpNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	own := &net.IPNet{IP: ownAddress, Mask: net.CIDRMask(32, 32)}
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: own}); err != nil {
		return err
	}
	all := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Src: ownAddress, Scope: netlink.SCOPE_LINK}); err != nil {
		return err
	}
	text, _ := os.ReadFile("/etc/resolv.conf")
	return refuse(nameservers(string(text)))
}

// refuse makes addresses unreachable. What the default route takes in vanishes
// there, and a program that asks a name server would wait for seconds: curl
// does for the IPv6 address of localhost where /etc/hosts has none.
func refuse(addresses []net.IP) error {
	for _, ip := range addresses {
		one := &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)}
		if err := netlink.RouteAdd(&netlink.Route{Dst: one, Type: unix.RTN_UNREACHABLE}); err != nil {
			return err
		}
	}
	return nil
}

// nameservers returns the IPv4 name servers of a resolv.conf that are not on
// the machine itself.
func nameservers(conf string) []net.IP {
	var all []net.IP
	seen := map[string]bool{}
	for line := range strings.Lines(conf) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		ip := net.ParseIP(f[1]).To4()
		if ip != nil && !ip.IsLoopback() && !ip.IsUnspecified() && !seen[f[1]] {
			seen[f[1]] = true
			all = append(all, ip)
		}
	}
	return all
}
