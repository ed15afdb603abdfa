//go:build !old

package main

import "github.com/IBM/sarama"

// What 1.38 has not: it is built with the tag `old`.
func init() { cooperative = sarama.NewBalanceStrategyCooperativeSticky() }
