//! NettyServerConfig and NettyClientConfig: the keys about sockets, under the reference's names.
//!
//! They keep the reference's class names so that operators find them; what concerns Netty's threads and buffers has
//! no effect here, except where a comment says what the key does.

use common::properties;

properties! {
    /// The listening side. Reference: `NettyServerConfig`.
    pub struct NettyServerConfig {
        /// The address to listen on.
        "bindAddress" bind_address: String = "0.0.0.0".to_owned(), restart;
        /// The main port; a broker's fast port is two below. A NameServer's default is 9876.
        "listenPort" listen_port: u16 = 10911, restart;
        /// Threads that serve sockets.
        "serverWorkerThreads" server_worker_threads: i32 = 8, restart;
        "serverCallbackExecutorThreads" server_callback_executor_threads: i32 = 0, restart;
        "serverSelectorThreads" server_selector_threads: i32 = 3, restart;
        "serverOnewaySemaphoreValue" server_oneway_semaphore_value: i32 = 256, restart;
        "serverAsyncSemaphoreValue" server_async_semaphore_value: i32 = 64, restart;
        /// A connection silent for this long is closed.
        "serverChannelMaxIdleTimeSeconds" server_channel_max_idle_time_seconds: u32 = 120, restart;
        "serverSocketSndBufSize" server_socket_snd_buf_size: i32 = 0, restart;
        "serverSocketRcvBufSize" server_socket_rcv_buf_size: i32 = 0, restart;
        "writeBufferHighWaterMark" write_buffer_high_water_mark: i32 = 0, restart;
        "writeBufferLowWaterMark" write_buffer_low_water_mark: i32 = 0, restart;
        "serverSocketBacklog" server_socket_backlog: i32 = 1024, restart;
        "serverNettyWorkerGroupEnable" server_netty_worker_group_enable: bool = true, restart;
        "serverPooledByteBufAllocatorEnable" server_pooled_byte_buf_allocator_enable: bool = true, restart;
        "enableShutdownGracefully" enable_shutdown_gracefully: bool = false, restart;
        /// How long a graceful stop may take.
        "shutdownWaitTimeSeconds" shutdown_wait_time_seconds: i32 = 30, restart;
        "useEpollNativeSelector" use_epoll_native_selector: bool = false, restart;
    }
}

properties! {
    /// The side that calls name servers. Reference: `NettyClientConfig`.
    pub struct NettyClientConfig {
        "clientWorkerThreads" client_worker_threads: i32 = 4, restart;
        "clientCallbackExecutorThreads" client_callback_executor_threads: i32 = processors(), restart;
        "clientOnewaySemaphoreValue" client_oneway_semaphore_value: i32 = 65_535, restart;
        "clientAsyncSemaphoreValue" client_async_semaphore_value: i32 = 65_535, restart;
        /// How long connecting to a name server may take.
        "connectTimeoutMillis" connect_timeout_millis: i32 = 3000, restart;
        "channelNotActiveInterval" channel_not_active_interval: i64 = 60_000, restart;
        "isScanAvailableNameSrv" is_scan_available_name_srv: bool = true, restart;
        "clientChannelMaxIdleTimeSeconds" client_channel_max_idle_time_seconds: i32 = 120, restart;
        "clientSocketSndBufSize" client_socket_snd_buf_size: i32 = 0, restart;
        "clientSocketRcvBufSize" client_socket_rcv_buf_size: i32 = 0, restart;
        "clientPooledByteBufAllocatorEnable" client_pooled_byte_buf_allocator_enable: bool = false, restart;
        "clientCloseSocketIfTimeout" client_close_socket_if_timeout: bool = true, restart;
        "useTLS" use_tls: bool = false, restart;
        "socksProxyConfig" socks_proxy_config: String = "{}".to_owned(), restart;
        "writeBufferHighWaterMark" write_buffer_high_water_mark: i32 = 0, restart;
        "writeBufferLowWaterMark" write_buffer_low_water_mark: i32 = 0, restart;
        "disableCallbackExecutor" disable_callback_executor: bool = false, restart;
        "disableNettyWorkerGroup" disable_netty_worker_group: bool = false, restart;
        "maxReconnectIntervalTimeSeconds" max_reconnect_interval_time_seconds: i64 = 60, restart;
        "enableReconnectForGoAway" enable_reconnect_for_go_away: bool = true, restart;
    }
}

fn processors() -> i32 {
    std::thread::available_parallelism().map_or(1, |count| i32::try_from(count.get()).unwrap_or(i32::MAX))
}
