package org.mlpexport.demo

class ChatActivity : Screen()
