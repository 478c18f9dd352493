//! The rules of EC2 as a state machine in virtual time.
