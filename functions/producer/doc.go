// Package producer sends market data events to the pipeline's queue, packed into few messages.
//
// Events of one series (dense feeds) or of one shard of all series (thin feeds) are packed, one JSON line each, until
// a message is full or MaxDelay has passed, and sent in batches. Into a FIFO queue the events of a group arrive in the
// order in which Send was called, each once: at most one message of a group is unacknowledged at any time, because a
// batch is accepted entry by entry and a message behind a refused one would overtake it, and what is retried keeps its
// id. Beyond SQS's deduplication window of five minutes a message whose acknowledgement was lost can arrive twice; the
// pipeline recognises it by its attribute origin_message_id.
//
//	p, err := producer.New(producer.Config{Client: sqs.NewFromConfig(cfg), QueueURL: url})
//	...
//	err = p.Send(ctx, &event) // for each event; blocks while the buffer is full
//	...
//	err = p.Close(ctx) // what was not sent is in the error
package producer
