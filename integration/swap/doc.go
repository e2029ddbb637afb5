// Package swap replaces the members of a running cluster one by one, stock
// etcd by etcd-dv and back, under load, and checks what clients saw.
//
// Three members start as stock etcd. Several clients put, read, write in
// transactions and compare-and-swap, each with values that are written once.
// Meanwhile every member is stopped and started with the other binary on the
// same data: to dv, back to stock, and to dv again, this time with kill -9 and
// the loss of a leader in the middle. In the end
//
//   - every acknowledged write is in the history that each member serves, at
//     the revision that was acknowledged; all members serve one history; and
//     nothing is in it that no client wrote (CheckHistory);
//   - the whole history is linearizable under the model of etcd's robustness
//     tests, with the members' write-ahead logs as evidence (Validate runs
//     etcd's own checker).
//
// Gaps in availability are measured and reported, not judged.
//
// The checker is built from etcd's test module, which etcd-dv does not depend
// on. make rolling-swap builds what is needed and runs the test; without it
// the test skips and says so.
package swap
