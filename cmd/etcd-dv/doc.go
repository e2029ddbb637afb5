// Etcd-dv is etcd whose peer traffic runs on raftdv's fabrics.
//
// It takes every flag, environment variable and configuration file that etcd
// takes, and besides them --dv-* flags, ETCD_DV_* variables and a dv map in
// the configuration file. Without any of these it works as etcd does, in mode
// auto. As with etcd itself, a configuration file replaces flags and
// environment, and one setting may not come from both a flag and a variable.
//
// The binary needs a server with the transport hook: see internal/patch. It
// refuses to start a member without it.
package main
