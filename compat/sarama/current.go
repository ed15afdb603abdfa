//go:build !old

package main

import "github.com/IBM/sarama"

// What 1.38 has not: it is built with the tag `old`.
func init() {
	cooperative = sarama.NewBalanceStrategyCooperativeSticky()
	alterOffsets = func(c *call) (any, error) {
		offset := sarama.OffsetAndMetadata{Offset: c.At(), LeaderEpoch: -1}
		answer, err := admin.AlterConsumerGroupOffsets(
			c.Group, map[string]map[int32]sarama.OffsetAndMetadata{c.Topic: {*c.Partition: offset}}, nil)
		if err != nil {
			return nil, err
		}
		if refused := answer.Errors[c.Topic][*c.Partition]; refused != sarama.ErrNoError {
			return nil, refused
		}
		return nil, nil
	}
}
