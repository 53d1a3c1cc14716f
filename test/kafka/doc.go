// Package kafka runs the Kafka sink against a real broker: Apache Kafka in KRaft
// mode, started and killed by the test. It needs Java, and the broker's jars in the
// directory that SHUNT_TEST_KAFKA names:
//
//	make test-kafka
//
// Without that variable its test says so and ends.
package kafka
