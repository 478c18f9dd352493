#!/usr/bin/env bash
# Compiles aws-sdk-ec2 with rustc's "mostly unused" hint: we call 15 of its 700 operations, and
# without the hint its code generation alone takes minutes. Every other crate passes unchanged.
# In bash, because dash drops CARGO_BIN_EXE_aws-cni from the environment: it is no shell variable.
case " $* " in
*" --crate-name aws_sdk_ec2 "*) RUSTC_BOOTSTRAP=1 exec "$@" -Zhint-mostly-unused ;;
*) exec "$@" ;;
esac
