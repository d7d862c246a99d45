//! End-to-end tests: the real binary, real kubectl, real Pods, each test in namespaces of its own.

#![expect(clippy::print_stderr, reason = "what the daemon says is evidence when a test fails")]

mod access;
mod admission;
mod api;
mod autoscaling;
mod bad_input;
mod cluster;
mod commands;
mod cronjobs;
mod custom;
mod daemonsets;
mod data_dir;
mod deployments;
mod dns;
mod drains;
mod examples;
mod http;
mod instances;
mod isolate;
mod jobs;
mod network;
mod nodes;
mod play;
mod pods;
mod policies;
mod proxies;
mod quotas;
mod refusals;
mod replicationcontrollers;
mod resize;
mod restart;
mod rights;
mod scheduling;
mod services;
mod statefulsets;
mod statics;
mod storage;
mod streams;
mod survival;
mod volumes;
mod webhooks;
