package main

// smoke lists, by suite, the tests of the smoke preset: those that say most
// about the transport in a few minutes.
var smoke = map[string][]string{
	"integration": {
		"TestTLSClusterOf3", "TestNetworkPartition5MembersLeaderInMinority",
		"TestNetworkPartition5MembersLeaderInMajority", "TestNetworkPartition4Members",
		"TestConcurrentRemoveMember", "TestAddMemberAfterClusterFullRotation",
		"TestPauseMember", "TestSnapshotAndRestartMember", "TestMoveLeader", "TestPeriodicCheckDetectsCorruption",
	},
	"e2e": {
		"TestNoErrorLogsDuringNormalOperations", "TestEtcdPeerLocalAddr", "TestEtcdPeerCNAuth", "TestEtcdPeerNameAuth",
		"TestEtcdPeerMultiCNAuth", "TestEtcdUnixPeers", "TestEtcdMultiPeer",
		"TestMemberReplace", "TestCtlV3MemberAddAsLearner", "TestCtlV3MemberUpdatePeerTLS",
		"TestCtlV3MoveLeaderScenarios", "TestMixVersionsSnapshotByAddingMember",
		"TestMixVersionsSnapshotByMockingPartition", "TestPeriodicCheckDetectsCorruption",
		"TestCompactHashCheckDetectCorruption", "TestRuntimeReconfigDecreaseClusterSize", "TestV3LearnerMetricApplyFromSnapshotTest",
		"TestTLSClusterOf5UsingV3Discovery_1endpoint",
	},
}
