select {lane}.cancel_v1($1::text::{id})
