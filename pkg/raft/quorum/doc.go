// Package quorum holds the arithmetic of majorities: what a majority has reached, and how a vote stands.
//
// It promises that two results which both claim a majority of the same voters share a voter. It asks its
// callers to pass one value, or count one answer, for each voter and for nobody else.
//
// Source: Ongaro, "Consensus: Bridging Theory and Practice", sections 3.4 and 3.6.2.
package quorum
